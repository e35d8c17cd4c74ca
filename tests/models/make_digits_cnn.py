#!/usr/bin/env python3
"""Trains tests/models/digits-cnn and writes its model and labelled data: make_digits_cnn.py [FOLDER]

Needs numpy, scikit-learn (for its copy of the UCI digits, BSD-3-Clause) and onnx; the project itself needs none of them.
The network is trained by plain numpy (im2col, Adam), seeded; the weights in the repository are the reference, as sums in
numpy depend on its BLAS and thread count.

    input [N,1,8,8] -> Conv 3x3 (16) -> BatchNorm -> Relu -> Conv 3x3 (32) -> BatchNorm -> Relu -> MaxPool 2x2
                    -> Flatten -> Gemm (64) -> Relu -> Gemm (10) -> logits [N,10]
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

SEED, EPOCHS, BATCH, RATE, EPSILON, MOMENTUM = 1, 40, 50, 2e-3, 1e-5, 0.9
CALIBRATION, TEST = 100, 397


def columns(x):
    """3x3 patches with padding 1: [N,C,H,W] -> [N,H,W,C*9]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # N,C,H,W,3,3
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(*windows.shape[:1], *x.shape[2:], -1)


class Network:
    """Weights by name, forward and backward pass."""

    def __init__(self, rng):
        he = lambda *shape, fan: (rng.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32)
        self.w = {
            "conv1.weight": he(16, 1, 3, 3, fan=9), "conv2.weight": he(32, 16, 3, 3, fan=144),
            "fc1.weight": he(64, 512, fan=512), "fc1.bias": np.zeros(64, np.float32),
            "fc2.weight": he(10, 64, fan=64), "fc2.bias": np.zeros(10, np.float32),
        }
        for i, channels in (("1", 16), ("2", 32)):
            self.w[f"bn{i}.scale"] = np.ones(channels, np.float32)
            self.w[f"bn{i}.shift"] = np.zeros(channels, np.float32)
        self.running = {f"bn{i}.{k}": v(c, np.float32) for i, c in (("1", 16), ("2", 32))
                        for k, v in (("mean", np.zeros), ("variance", np.ones))}

    def block(self, i, x, train, kept):
        w = self.w[f"conv{i}.weight"]
        patches = columns(x)
        y = patches @ w.reshape(len(w), -1).T  # N,H,W,channels
        if train:
            mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
            for name, value in (("mean", mean), ("variance", variance)):
                key = f"bn{i}.{name}"
                self.running[key] = MOMENTUM * self.running[key] + (1 - MOMENTUM) * value
        else:
            mean, variance = self.running[f"bn{i}.mean"], self.running[f"bn{i}.variance"]
        inverse = 1 / np.sqrt(variance + EPSILON)
        normal = (y - mean) * inverse
        out = np.maximum(normal * self.w[f"bn{i}.scale"] + self.w[f"bn{i}.shift"], 0)
        kept[i] = (x.shape, patches, normal, inverse, out)
        return out.transpose(0, 3, 1, 2)

    def block_back(self, i, gradient, kept, grads):
        shape, patches, normal, inverse, out = kept[i]
        g = gradient.transpose(0, 2, 3, 1) * (out > 0)
        grads[f"bn{i}.scale"], grads[f"bn{i}.shift"] = (g * normal).sum((0, 1, 2)), g.sum((0, 1, 2))
        g = g * self.w[f"bn{i}.scale"]
        g = inverse * (g - g.mean((0, 1, 2)) - normal * (g * normal).mean((0, 1, 2)))
        w = self.w[f"conv{i}.weight"]
        flat = g.reshape(-1, g.shape[-1])
        grads[f"conv{i}.weight"] = (flat.T @ patches.reshape(len(flat), -1)).reshape(w.shape)
        p = (g @ w.reshape(len(w), -1)).reshape(*g.shape[:3], shape[1], 3, 3)
        dx = np.zeros((shape[0], shape[1], shape[2] + 2, shape[3] + 2), np.float32)
        for dy in range(3):
            for dx_ in range(3):
                dx[:, :, dy:dy + shape[2], dx_:dx_ + shape[3]] += p[..., dy, dx_].transpose(0, 3, 1, 2)
        return dx[:, :, 1:-1, 1:-1]

    def forward(self, x, train=False):
        kept = {}
        a = self.block("2", self.block("1", x, train, kept), train, kept)
        n, c, h, w = a.shape
        windows = a.reshape(n, c, h // 2, 2, w // 2, 2)
        pooled = windows.max((3, 5))
        mask = windows == pooled[:, :, :, None, :, None]
        kept["pool"] = mask / mask.sum((3, 5), keepdims=True), a.shape
        kept["flat"] = pooled.reshape(n, -1)
        kept["hidden"] = np.maximum(kept["flat"] @ self.w["fc1.weight"].T + self.w["fc1.bias"], 0)
        return kept["hidden"] @ self.w["fc2.weight"].T + self.w["fc2.bias"], kept

    def backward(self, g, kept):
        grads = {"fc2.weight": g.T @ kept["hidden"], "fc2.bias": g.sum(0)}
        g = (g @ self.w["fc2.weight"]) * (kept["hidden"] > 0)
        grads["fc1.weight"], grads["fc1.bias"] = g.T @ kept["flat"], g.sum(0)
        share, shape = kept["pool"]
        n, c, h, w = shape
        g = (g @ self.w["fc1.weight"]).reshape(n, c, h // 2, 1, w // 2, 1) * share
        g = self.block_back("2", g.reshape(shape).astype(np.float32), kept, grads)
        self.block_back("1", g, kept, grads)
        return grads


def train(images, labels, rng):
    net, first, second, step = Network(rng), {}, {}, 0
    steps = EPOCHS * (len(images) // BATCH)
    for _ in range(EPOCHS):
        for batch in np.array_split(rng.permutation(len(images)), len(images) // BATCH):
            step += 1
            x = images[batch]
            dy, dx = rng.integers(-1, 2, 2)  # shifts by a pixel keep it from learning exact places
            x = np.roll(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (dy, dx), (2, 3))[:, :, 1:-1, 1:-1]
            scores, kept = net.forward(x, train=True)
            p = np.exp(scores - scores.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(batch)), labels[batch]] -= 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            for name, g in net.backward((p / len(batch)).astype(np.float32), kept).items():
                first[name] = 0.9 * first.get(name, 0) + 0.1 * g
                second[name] = 0.999 * second.get(name, 0) + 0.001 * g * g
                net.w[name] = (net.w[name] - rate * (first[name] / (1 - 0.9**step)) /
                               (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8)).astype(np.float32)
    return net


def export(net):
    tensors = {**net.w, **{k: v.astype(np.float32) for k, v in net.running.items()}}
    node = helper.make_node
    nodes = []
    for i, x in (("1", "input"), ("2", "relu1")):
        nodes += [
            node("Conv", [x, f"conv{i}.weight"], [f"conv{i}"], f"conv{i}", kernel_shape=[3, 3], pads=[1] * 4),
            node("BatchNormalization", [f"conv{i}"] + [f"bn{i}.{k}" for k in ("scale", "shift", "mean", "variance")],
                 [f"bn{i}"], f"bn{i}", epsilon=EPSILON),
            node("Relu", [f"bn{i}"], [f"relu{i}"], f"relu{i}"),
        ]
    nodes += [
        node("MaxPool", ["relu2"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["pool"], ["flat"], "flatten"),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], "fc1", transB=1),
        node("Relu", ["fc1"], ["hidden"], "relu3"),
        node("Gemm", ["hidden", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "digits_cnn", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    model = helper.make_model(graph, producer_name="make_digits_cnn.py", ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "digits-cnn")
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(images))
    test, rest = order[:TEST], order[TEST:]
    net = train(images[rest], labels[rest], rng)
    os.makedirs(folder, exist_ok=True)
    onnx.save(export(net), os.path.join(folder, "model.onnx"))
    for split, chosen in (("calib", rest[:CALIBRATION]), ("test", test)):
        path = os.path.join(folder, "data", split)
        os.makedirs(path, exist_ok=True)
        np.save(os.path.join(path, "input.npy"), images[chosen])
        np.save(os.path.join(path, "labels.npy"), labels[chosen])
    accuracy = (net.forward(images[test])[0].argmax(1) == labels[test]).mean()
    print(f"test accuracy {accuracy:.4f} of {TEST}, parameters {sum(v.size for v in net.w.values())}")


if __name__ == "__main__":
    main()
