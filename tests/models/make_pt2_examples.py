#!/usr/bin/env python3
"""Makes pt2/examples.json: for each operator of PyTorch's exported programs a small program, its inputs and its outputs.

    make_pt2_examples.py FOLDER    # needs numpy, not torch

FOLDER holds programs of torch.export.save (torch 2.6, NAME.pt2), the inputs that they were run with and what PyTorch's
eager mode gave (NAME.npz with in0.., out0..), and manifest.json with their names. Of each program the part behind one
output is cut out, and for each operator the smallest part that has it is kept. What made_here() adds has outputs of numpy.
"""
import io
import json
import pathlib
import pickle
import sys
import zipfile

import numpy as np

DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
          10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16"}
NUMBERS = {name: number for number, name in DTYPES.items()}


class Storage:
    def __init__(self, kind, key): self.kind, self.key = kind, key


class Unpickler(pickle.Unpickler):
    """Tensors of torch.save as (dtype, shape, raw little-endian bytes)."""

    KINDS = {"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "LongStorage": "int64",
             "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
             "BoolStorage": "bool", "BFloat16Storage": "bfloat16"}

    def __init__(self, file, archive, root):
        super().__init__(file)
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if name in self.KINDS: return self.KINDS[name]
        if name == "_rebuild_tensor_v2": return self.tensor
        if name == "_rebuild_parameter": return lambda data, *rest: data
        if name == "OrderedDict": return dict
        raise ValueError(f"{module}.{name}")

    def persistent_load(self, pid): return Storage(pid[1], pid[2])

    def tensor(self, storage, offset, shape, strides, *rest):
        raw = self.archive.read(f"{self.root}data/{storage.key}")
        kind = np.dtype("uint16" if storage.kind == "bfloat16" else storage.kind)
        flat = np.frombuffer(raw, kind)[offset:]
        view = np.lib.stride_tricks.as_strided(flat, shape, [s * kind.itemsize for s in strides])
        return storage.kind, list(shape), np.ascontiguousarray(view)


def weights(program, name):
    archive = zipfile.ZipFile(io.BytesIO(program.read(name)))
    pkl = next(n for n in archive.namelist() if n.endswith("data.pkl"))
    return Unpickler(io.BytesIO(archive.read(pkl)), archive, pkl[:-len("data.pkl")]).load()


def numbers(array):
    array = np.asarray(array)
    flat = array.reshape(-1)
    if array.dtype.kind in "f":
        # The shortest text that gives the number back, in its own precision.
        return [v if np.isfinite(v) else str(v) for v in (float(str(x)) for x in flat)]
    return [int(x) for x in flat]


def tensor(kind, shape, array): return {"dtype": kind, "shape": list(shape), "data": numbers(array)}


def names_in(value):
    """Names of values that an argument reads or makes."""
    if isinstance(value, list): return [n for item in value for n in names_in(item)]
    if not isinstance(value, dict): return []
    (kind, content), = value.items() if len(value) == 1 else [("", None)]
    if kind in ("as_tensor",): return [content["name"]]
    if kind == "as_tensors": return [t["name"] for t in content]
    if kind == "as_optional_tensors": return [n for item in content for n in names_in(item)]
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"): return [content["as_name"]] if "as_name" in content else []
    if kind == "as_sym_ints": return [i["as_name"] for i in content if "as_name" in i]
    return []


KEPT = ("dtype", "sizes", "strides", "storage_offset")


def is_dense(meta):
    """Whether strides and offset are those of a tensor whose elements lie in order from the storage's beginning."""
    expected = 1
    for size, stride in zip(reversed(meta["sizes"]), reversed(meta["strides"])):
        if "as_int" not in size or stride.get("as_int") != expected: return False
        expected *= size["as_int"]
    return meta["storage_offset"].get("as_int") == 0


def slim_graph(graph):
    """Without what says where things came from."""
    result = {"inputs": graph["inputs"], "outputs": graph["outputs"], "nodes": []}
    for node in graph["nodes"]:
        inputs = [{"name": i["name"], "arg": slim_argument(i["arg"])} for i in node["inputs"]]
        result["nodes"].append({"target": node["target"], "inputs": inputs, "outputs": node["outputs"]})
    given = {n for i in graph["inputs"] for n in names_in(i)}
    # Strides only where a write may go through them or a weight is laid out by them, and they are not the usual ones.
    result["tensor_values"] = {n: {k: m[k] for k in KEPT if k in m and (k in KEPT[:2] or (n in given and not is_dense(m)))}
                               for n, m in graph["tensor_values"].items()}
    result["sym_int_values"] = graph.get("sym_int_values", {})
    return result


def slim_argument(argument):
    if "as_graph" not in argument: return argument
    return {"as_graph": {"name": argument["as_graph"]["name"], "graph": slim_graph(argument["as_graph"]["graph"])}}


def cut(program, output):
    """The part of the program behind one of its outputs; all of it where tensors are written into."""
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    name = names_in(graph["outputs"][output])[0]
    writes = any(n["target"].split(".")[3].endswith("_") and not n["target"].split(".")[3].startswith("__")
                 for n in graph["nodes"] if n["target"].startswith("torch.ops.aten."))
    wanted, nodes = {name}, []
    for node in reversed(graph["nodes"]):
        made = names_in(node["outputs"])
        if not writes and made and not wanted & set(made): continue
        if not writes and not made: continue
        nodes.insert(0, node)
        for argument in node["inputs"]: wanted |= set(names_in(argument["arg"]))
    used = set(wanted) | {n for node in nodes for n in names_in(node["outputs"])}
    part = {"inputs": [], "outputs": [graph["outputs"][output]], "nodes": nodes,
            "tensor_values": {n: m for n, m in graph["tensor_values"].items() if n in used},
            "sym_int_values": {n: m for n, m in graph.get("sym_int_values", {}).items() if n in used}}
    specs, users, user = [], [], 0
    for given, spec in zip(graph["inputs"], signature["input_specs"]):
        is_user = "user_input" in spec
        if set(names_in(given)) & wanted:
            part["inputs"].append(given)
            specs.append(spec)
            if is_user: users.append(user)
        user += is_user
    out_spec = signature["output_specs"][output]
    return {"graph_module": {"graph": slim_graph(part), "signature": {"input_specs": specs, "output_specs": [out_spec]}},
            "schema_version": program["schema_version"], "torch_version": program["torch_version"]}, users


def spec_names(program):
    for spec in program["graph_module"]["signature"]["input_specs"]:
        for kind, content in spec.items():
            for key in ("parameter_name", "buffer_name", "tensor_constant_name"):
                if key in content: yield content[key]


def targets(graph):
    for node in graph["nodes"]:
        yield node["target"].removeprefix("torch.ops.")
        for argument in node["inputs"]:
            if "as_graph" in argument["arg"]: yield from targets(argument["arg"]["as_graph"]["graph"])


def from_corpus(folder):
    best = {}
    for case in json.loads((folder / "manifest.json").read_text())["cases"]:
        if case["name"].startswith("net_"): continue
        archive = zipfile.ZipFile(folder / case["file"])
        program = json.loads(archive.read("serialized_exported_program.json"))
        stored = {**weights(archive, "serialized_state_dict.pt"), **weights(archive, "serialized_constants.pt")}
        data = np.load(folder / (case["data"] if isinstance(case["data"], str) else case["data"][0]))
        for output in range(len(case["outputs"])):
            part, users = cut(program, output)
            used = sorted(set(targets(part["graph_module"]["graph"])))
            needed = {n: tensor(*stored[n]) for n in spec_names(part)}
            example = {
                "name": f"{case['name']}.{output}", "program": part, "weights": needed,
                "inputs": [tensor(str(data[f"in{i}"].dtype), data[f"in{i}"].shape, data[f"in{i}"]) for i in users],
                "outputs": [tensor(str(data[f"out{output}"].dtype), data[f"out{output}"].shape, data[f"out{output}"])]}
            # What computes in half precision has a tolerance of its own.
            if "tol" in case: example["tolerance"] = case["tol"]
            size = len(part["graph_module"]["graph"]["nodes"]) * 2000 + len(json.dumps(example))
            for target in used:
                if target not in best or size < best[target][0]: best[target] = (size, example)
    return {example["name"]: example for size, example in best.values()}


class Made:
    """A program of one operator, built here."""

    def __init__(self, target, arguments, *outputs, name=None):
        graph = {"inputs": [], "outputs": [], "nodes": [], "tensor_values": {}, "sym_int_values": {}}
        specs, inputs = [], []

        def declare(array):
            array = np.asarray(array)
            tensor_name = f"x{len(inputs)}"
            graph["inputs"].append({"as_tensor": {"name": tensor_name}})
            graph["tensor_values"][tensor_name] = self.meta(array)
            specs.append({"user_input": {"arg": {"as_tensor": {"name": tensor_name}}}})
            inputs.append(tensor(str(array.dtype), array.shape, array))
            return tensor_name

        node = {"target": "torch.ops." + target, "inputs": [], "outputs": []}
        for key, value in arguments.items():
            node["inputs"].append({"name": key, "arg": self.argument(value, declare)})
        out_specs = []
        for i, array in enumerate(outputs):
            array = np.asarray(array)
            node["outputs"].append({"as_tensor": {"name": f"y{i}"}})
            graph["tensor_values"][f"y{i}"] = self.meta(array)
            graph["outputs"].append({"as_tensor": {"name": f"y{i}"}})
            out_specs.append({"user_output": {"arg": {"as_tensor": {"name": f"y{i}"}}}})
        graph["nodes"].append(node)
        self.example = {
            "name": name or target, "weights": {}, "inputs": inputs,
            "program": {"graph_module": {"graph": graph, "signature": {"input_specs": specs, "output_specs": out_specs}},
                        "schema_version": {"major": 8, "minor": 2}, "torch_version": ""},
            "outputs": [tensor(str(np.asarray(o).dtype), np.asarray(o).shape, o) for o in outputs]}

    @staticmethod
    def meta(array):
        return {"dtype": NUMBERS[str(array.dtype)], "sizes": [{"as_int": n} for n in array.shape]}

    def argument(self, value, declare):
        if isinstance(value, np.ndarray): return {"as_tensor": {"name": declare(value)}}
        if isinstance(value, np.generic): return {"as_tensor": {"name": declare(np.asarray(value))}}
        if isinstance(value, bool): return {"as_bool": value}
        if isinstance(value, int): return {"as_int": value}
        if isinstance(value, float): return {"as_float": value}
        if isinstance(value, str): return {"as_string": value}
        if value is None: return {"as_none": True}
        if all(isinstance(item, np.ndarray) for item in value): return {"as_tensors": [{"name": declare(a)} for a in value]}
        if all(isinstance(item, int) for item in value): return {"as_ints": list(value)}
        return {"as_floats": list(value)}


def smoothed(image, out, cubic):
    """Antialiased resize of [rows, columns]: means weighted by a triangle, or by a cubic with a = -0.5."""
    def kernel(d):
        d = abs(d)
        if not cubic: return max(0., 1 - d)
        return 1.5 * d ** 3 - 2.5 * d ** 2 + 1 if d < 1 else -.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2 if d < 2 else 0.
    for axis in (0, 1):
        size, wanted = image.shape[axis], out[axis]
        step = size / wanted
        rows = []
        for o in range(wanted):
            weights = np.array([kernel((i + .5 - (o + .5) * step) / max(step, 1)) for i in range(size)])
            rows.append(np.tensordot(weights / weights.sum(), image, (0, axis)))
        image = np.stack(rows, axis)
    return image.astype(np.float32)


def deformed(image, offset, weight, mask):
    """deform_conv2d of one image [channels, rows, columns], one group, stride 1, no padding."""
    def pixel(c, y, x): return image[c, y, x] if 0 <= y < image.shape[1] and 0 <= x < image.shape[2] else 0.
    def between(c, y, x):
        i, j = int(np.floor(y)), int(np.floor(x))
        return sum(pixel(c, i + a, j + b) * (1 - abs(y - i - a)) * (1 - abs(x - j - b)) for a in (0, 1) for b in (0, 1))
    out = np.zeros((weight.shape[0],) + offset.shape[1:])
    kw = weight.shape[3]
    for (o, y, x), _ in np.ndenumerate(out):
        for (c, i, j), w in np.ndenumerate(weight[o]):
            k = i * kw + j
            out[o, y, x] += w * mask[k, y, x] * between(c, y + i + offset[2 * k, y, x], x + j + offset[2 * k + 1, y, x])
    return out.astype(np.float32)


def attended(q, k, v, bias):
    """Attention in which rows without anything to look at give zeros."""
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + bias
    dead = (scores == -np.inf).all(-1, keepdims=True)
    e = np.exp(scores - np.where(dead, 0, scores.max(-1, keepdims=True)))
    return np.where(dead, 0, e / np.where(dead, 1, e.sum(-1, keepdims=True))).astype(np.float32) @ v


def made_here():
    edges = np.float32([np.inf, -np.inf, np.nan, -1, -2, 0, 1e-30, 1e-8, -1e-8, 1e8, 3e38, -20, 20, 87])
    with np.errstate(all="ignore"):
        yield Made("aten.expm1.default", {"self": edges}, np.expm1(edges), name="expm1 everywhere")
        yield Made("aten.log1p.default", {"self": edges}, np.log1p(edges), name="log1p everywhere")
    q, k, v = (np.random.default_rng(3).standard_normal((3, 1, 3, 4)).astype(np.float32))
    seen = np.array([[True, True, False], [False] * 3, [True] * 3])
    bias = np.where(seen, 0, -np.inf).astype(np.float32)
    lost = q.copy()
    lost[0, 2] = np.nan
    attention = "aten.scaled_dot_product_attention.default"
    yield Made(attention, {"query": q, "key": k, "value": v, "attn_mask": seen}, attended(q, k, v, bias), name="attention to nothing")
    yield Made(attention, {"query": lost, "key": k, "value": v, "attn_mask": bias}, attended(lost, k, v, bias), name="attention of NaN")
    square = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    for equation in ("bii->bi", "bii->ib", "bii->", "ijj->ji"):
        yield Made("aten.einsum.default", {"equation": equation, "tensors": [square]}, np.einsum(equation, square), name="einsum " + equation)
    yield Made("aten.einsum.default", {"equation": "bij,bij->b", "tensors": [square, square]}, np.einsum("bij,bij->b", square, square), name="einsum of equal axes")
    picture = np.random.default_rng(4).standard_normal((5, 7)).astype(np.float32)
    for target, cubic in (("aten._upsample_bilinear2d_aa.default", False), ("aten._upsample_bicubic2d_aa.default", True)):
        yield Made(target, {"self": picture[None, None], "output_size": [3, 9], "align_corners": False}, smoothed(picture, (3, 9), cubic)[None, None])
    places = np.random.default_rng(5)
    f = lambda *shape: places.standard_normal(shape).astype(np.float32)
    image, offset, weight, mask = f(2, 4, 5), f(8, 3, 4), f(3, 2, 2, 2), f(4, 3, 4)
    yield Made("torchvision.deform_conv2d.default",
               {"input": image[None], "weight": weight, "offset": offset[None], "mask": mask[None], "bias": np.zeros(3, np.float32), "stride_h": 1,
                "stride_w": 1, "pad_h": 0, "pad_w": 0, "dilation_h": 1, "dilation_w": 1, "groups": 1, "offset_groups": 1, "use_mask": True},
               deformed(image, offset, weight, mask)[None])
    yield Made("torchvision.roi_pool.default",
               {"input": np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6), "rois": np.float32([[0, 0, 0, 3, 3], [0, 2, 1, 5, 4]]), "spatial_scale": 1.,
                "pooled_height": 2, "pooled_width": 2}, np.float32([[[[7, 9], [19, 21]]], [[[15, 17], [27, 29]]]]))
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    yield Made("aten.masked_scatter.default", {"self": grid, "mask": np.array([[False, True, False], [True, True, False]]), "source": np.float32([7, 8, 9, 10])},
               np.float32([[0, 7, 2], [8, 9, 5]]))
    yield Made("aten.masked_scatter.default", {"self": grid, "mask": np.zeros((2, 3), bool), "source": np.float32([7])}, grid, name="masked_scatter of nothing")
    yield Made("aten.pad.default", {"self": grid, "pad": [-1, 2, 1, -1], "mode": "constant", "value": 5.},
               np.float32([[5, 5, 5, 5], [1, 2, 5, 5]]), name="pad that cuts")
    yield Made("aten.any.dim", {"self": np.zeros((2, 0), bool), "dim": 1}, np.array([False, False]), name="any of nothing")
    yield Made("aten.all.dim", {"self": np.zeros((2, 0), bool), "dim": 1}, np.array([True, True]), name="all of nothing")
    holes = np.float32([[1, np.nan, 3], [np.nan] * 3, [2, 4, 6]])
    yield Made("aten.nanmean.default", {"self": holes, "dim": [1]}, np.float32([2, np.nan, 4]))
    inf = np.inf
    yield Made("aten._safe_softmax.default", {"self": np.float32([[0, -inf], [-inf, -inf], [np.nan, -inf]]), "dim": -1},
               np.float32([[1, 0], [0, 0], [np.nan, np.nan]]), name="_safe_softmax of nothing")
    curve = np.float32([[1, 3, 2], [0, 4, -2]])
    yield Made("aten.trapezoid.dx", {"y": curve, "dx": .5, "dim": 1}, np.float32([2.25, 1.5]))
    yield Made("aten.cumulative_trapezoid.dx", {"y": curve, "dim": 1}, np.float32([[2, 4.5], [2, 3]]))
    yield Made("aten.vander.default", {"x": np.float32([2, -3, 0]), "N": 4}, np.vander(np.float32([2, -3, 0]), 4))
    line = np.arange(8, dtype=np.float32)[None]
    yield Made("aten.avg_pool1d.default", {"self": line, "kernel_size": [3], "stride": [2], "padding": [1], "ceil_mode": True, "count_include_pad": False},
               np.float32([[.5, 2, 4, 6, 7]]), name="avg_pool without padding")
    yield Made("aten.avg_pool1d.default", {"self": line[:, :6], "kernel_size": [4], "stride": [3], "padding": [0], "ceil_mode": True},
               np.float32([[1.5, 4]]), name="avg_pool of a cut window")
    rng = np.random.default_rng(7)
    f = lambda *shape: (rng.random(shape, np.float32) * 2 - 1).astype(np.float32)
    x, y = f(2, 3), f(2, 3)
    i64 = lambda *v: np.array(v, np.int64)
    one = lambda target, argument, fn, **more: Made(target, {"self": argument, **more}, fn(argument))
    yield from [
        one("aten.acos.default", x, np.arccos), one("aten.acosh.default", x + 3, np.arccosh),
        one("aten.asinh.default", x, np.arcsinh), one("aten.atanh.default", x * np.float32(.9), np.arctanh),
        one("aten.cosh.default", x, np.cosh), one("aten.exp2.default", x, np.exp2),
        one("aten.log10.default", x + 2, np.log10),
        one("aten.deg2rad.default", x, np.deg2rad), one("aten.rad2deg.default", x, np.rad2deg),
        Made("aten.logit.default", {"self": np.float32([.2, .5, .9])}, np.log(np.float32([.25, 1, 9]))),
        Made("aten.expm1.default", {"self": np.float32([1e-6, -2e-4, .3, 2])}, np.expm1(np.float32([1e-6, -2e-4, .3, 2])),
             name="expm1 near zero"),
        Made("aten.log1p.default", {"self": np.float32([1e-6, -2e-4, .3, 1e8])}, np.log1p(np.float32([1e-6, -2e-4, .3, 1e8])),
             name="log1p near zero"),
        Made("aten.erfc.default", {"self": np.float32([0, .5])}, np.float32([1, .47950012])),
        Made("aten.round.decimals", {"self": np.float32([1.234, -5.678]), "decimals": 1}, np.float32([1.2, -5.7])),
        Made("aten.isposinf.default", {"self": np.float32([np.inf, -np.inf, 1])}, np.array([True, False, False])),
        Made("aten.isneginf.default", {"self": np.float32([np.inf, -np.inf, 1])}, np.array([False, True, False])),
        Made("aten.isfinite.default", {"self": np.float32([np.inf, np.nan, 1])}, np.array([False, False, True])),
        Made("aten.nan_to_num.default", {"self": np.float32([np.nan, np.inf, 2]), "nan": 1., "posinf": 5.}, np.float32([1, 5, 2])),
        Made("aten.logical_not.default", {"self": i64(0, 3)}, np.array([True, False])),
        Made("aten.softsign.default", {"self": x}, x / (1 + np.abs(x))),
        Made("aten.rrelu.default", {"self": np.float32([-1, 2]), "lower": .1, "upper": .3}, np.float32([-.2, 2])),
        # Floor and remainder where quotients are near integers, negative, or divided by zero.
        Made("aten.div.Tensor_mode", {"self": np.float32([1, -7, 7, -1]), "other": np.float32([.1, 2, -2, .1]), "rounding_mode": "floor"},
             np.float32([9, -4, -4, -10]), name="floor of inexact quotients"),
        Made("aten.floor_divide.default", {"self": np.float32([1, -1, 0]), "other": np.float32([0, 0, 2])},
             np.float32([np.inf, -np.inf, 0]), name="floor of infinite quotients"),
        Made("aten.remainder.Tensor", {"self": i64(7, -7, 7, -7), "other": i64(3, 3, -3, -3)}, i64(1, 2, -2, -1), name="remainder of integers"),
        Made("aten.fmod.Tensor", {"self": i64(7, -7, 7, -7), "other": i64(3, 3, -3, -3)}, i64(1, -1, 1, -1), name="fmod of integers"),
        Made("aten.div.Tensor_mode", {"self": i64(7, -7, 7, -7), "other": i64(2, 2, -2, -2), "rounding_mode": "trunc"},
             i64(3, -3, -3, 3), name="trunc of integers"),
        Made("aten.fmax.default", {"self": np.float32([np.nan, 1, 3]), "other": np.float32([2, np.nan, 1])}, np.float32([2, 1, 3])),
        Made("aten.fmin.default", {"self": np.float32([np.nan, 1, 3]), "other": np.float32([2, np.nan, 1])}, np.float32([2, 1, 1])),
        Made("aten.max.other", {"self": x, "other": y}, np.maximum(x, y)), Made("aten.min.other", {"self": x, "other": y}, np.minimum(x, y)),
        Made("aten.clamp_max.default", {"self": x, "max": .25}, np.minimum(x, np.float32(.25))),
        Made("aten.addcdiv.default", {"self": x, "tensor1": y, "tensor2": x + 3, "value": 2}, x + 2 * y / (x + 3)),
        Made("aten.hypot.default", {"self": x, "other": y}, np.hypot(x, y)),
        Made("aten.xlogy.Tensor", {"self": np.float32([0, 2]), "other": np.float32([0, 3])}, np.float32([0, 2 * np.log(3)])),
        Made("aten.logaddexp.default", {"self": x, "other": y}, np.logaddexp(x, y)),
        Made("aten.atan2.default", {"self": np.float32([1, 1, -1, -1, 1, 0]), "other": np.float32([1, -1, -1, 1, 0, 0])},
             np.arctan2(np.float32([1, 1, -1, -1, 1, 0]), np.float32([1, -1, -1, 1, 0, 0])), name="atan2 in every quadrant"),
        Made("aten.logical_and.default", {"self": i64(0, 2, 3), "other": i64(1, 0, 5)}, np.array([False, False, True])),
        Made("aten.logical_or.default", {"self": i64(0, 2, 0), "other": i64(0, 0, 5)}, np.array([False, True, True])),
        Made("aten.bitwise_and.Tensor", {"self": i64(6, 5), "other": i64(3, 4)}, i64(2, 4)),
        Made("aten.bitwise_or.Tensor", {"self": i64(6, 5), "other": i64(3, 4)}, i64(7, 5)),
        Made("aten.bitwise_xor.Tensor", {"self": i64(6, 5), "other": i64(3, 4)}, i64(5, 1)),
        Made("aten.bitwise_right_shift.Tensor", {"self": i64(-7, 9), "other": i64(1, 2)}, i64(-4, 2)),
        Made("aten.lt.Tensor", {"self": np.array([1, 200], np.uint8), "other": np.array([2, 100], np.uint8)}, np.array([True, False])),
        Made("aten.le.Scalar", {"self": x, "other": 0}, x <= 0),
        Made("aten.isclose.default", {"self": np.float32([1, 2, np.inf]), "other": np.float32([1 + 1e-6, 2.1, np.inf])}, np.array([True, False, True])),
        Made("aten.add.Tensor", {"self": np.array([200, 100], np.uint8), "other": np.array([100, 1], np.uint8)}, np.array([44, 101], np.uint8), name="add wraps around"),
        Made("aten.add.Tensor", {"self": i64(1, 2), "other": 1.5}, np.float32([2.5, 3.5]), name="add promotes by category"),
        Made("aten.std.correction", {"self": x, "dim": [1], "correction": 0}, x.std(1)),
        Made("aten.std_mean.correction", {"self": x, "dim": [0], "correction": 1, "keepdim": True}, x.std(0, ddof=1, keepdims=True), x.mean(0, keepdims=True)),
        Made("aten.linalg_vector_norm.default", {"self": x, "ord": 3.0, "dim": [1]}, (np.abs(x) ** 3).sum(1) ** np.float32(1 / 3), name="norm of order 3"),
        Made("aten.linalg_vector_norm.default", {"self": x, "ord": float("inf"), "dim": [1]}, np.abs(x).max(1), name="norm of order infinity"),
        Made("aten.norm.ScalarOpt_dim", {"self": x, "p": 2, "dim": [1]}, np.sqrt((x * x).sum(1))),
        Made("aten.count_nonzero.dim_IntList", {"self": i64(0, 2, 0, 1).reshape(2, 2), "dim": [1]}, i64(1, 1)),
        Made("aten.all.default", {"self": np.array([True, False])}, np.array(False)),
        Made("aten.aminmax.default", {"self": x, "dim": 1}, x.min(1), x.max(1)), Made("aten.min.default", {"self": x}, x.min()),
        Made("aten.sum.default", {"self": np.array([True, True, False])}, np.int64(2), name="sum of truth values"),
        Made("aten.cummin.default", {"self": np.float32([3, 1, 2, 1, 0]), "dim": 0}, np.float32([3, 1, 1, 1, 0]), i64(0, 1, 1, 3, 4)),
        Made("aten.msort.default", {"self": x}, np.sort(x, 0)),
        Made("aten.swapdims.default", {"self": x, "dim0": 0, "dim1": 1}, x.T.copy()),
        Made("aten.moveaxis.intlist", {"self": f(2, 3, 4), "source": [0], "destination": [2]}, np.zeros((3, 4, 2), np.float32)),
        Made("aten.broadcast_to.default", {"self": np.float32([1, 2]), "size": [2, 2]}, np.float32([[1, 2], [1, 2]])),
        Made("aten.squeeze.dims", {"self": x.reshape(1, 2, 3, 1), "dim": [0, 1]}, x.reshape(2, 3, 1)),
        Made("aten.vstack.default", {"tensors": [np.float32([1, 2]), np.float32([3, 4])]}, np.float32([[1, 2], [3, 4]])),
        Made("aten.dstack.default", {"tensors": [np.float32([1, 2]), np.float32([3, 4])]}, np.float32([[[1, 3], [2, 4]]])),
        Made("aten.column_stack.default", {"tensors": [np.float32([1, 2]), np.float32([3, 4])]}, np.float32([[1, 3], [2, 4]])),
        Made("aten.fliplr.default", {"self": x}, x[:, ::-1].copy()), Made("aten.flipud.default", {"self": x}, x[::-1].copy()),
        Made("aten.slice.Tensor", {"self": x, "dim": 1, "start": -2, "end": 100, "step": 2}, x[:, -2::2].copy(), name="slice past the end"),
        Made("aten.slice_scatter.default", {"self": f(4) * 0, "src": np.float32([1, 2]), "start": 0, "end": 4, "step": 2}, np.float32([1, 0, 2, 0])),
        Made("aten.select_scatter.default", {"self": x * 0, "src": np.float32([1, 2]), "dim": 1, "index": -1}, np.float32([[0, 0, 1], [0, 0, 2]])),
        Made("aten.masked_select.default", {"self": np.float32([1, 2, 3]), "mask": np.array([True, False, True])}, np.float32([1, 3])),
        Made("aten.searchsorted.Tensor", {"sorted_sequence": np.float32([1, 3, 5]), "self": np.float32([3, 6]), "right": True}, i64(2, 3)),
        Made("aten.fill.Scalar", {"self": x, "value": 2.5}, np.full_like(x, 2.5)), Made("aten.zero.default", {"self": x}, x * 0),
        Made("aten.copy.default", {"self": x, "src": np.float32([1, 2, 3])}, np.float32([[1, 2, 3], [1, 2, 3]])),
        Made("aten.eye.m", {"n": 2, "m": 3}, np.eye(2, 3, dtype=np.float32)),
        Made("aten.triu_indices.default", {"row": 2, "col": 2}, i64(0, 0, 1, 0, 1, 1).reshape(2, 3)),
        Made("aten.scalar_tensor.default", {"s": 2.5}, np.float32(2.5)), Made("aten.new_ones.default", {"self": x, "size": [2]}, np.float32([1, 1])),
        Made("aten.hamming_window.default", {"window_length": 4}, np.float32([.08, .54, 1, .54])),
        Made("aten.blackman_window.default", {"window_length": 4}, np.float32([0, .34, 1, .34])),
        Made("aten.channel_shuffle.default", {"self": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), "groups": 2}, np.float32([0, 2, 1, 3]).reshape(1, 4, 1, 1)),
        Made("aten.addmv.default", {"self": np.float32([1, 1]), "mat": x, "vec": np.float32([1, 0, 0])}, 1 + x[:, 0]),
        Made("aten.addbmm.default", {"self": np.zeros((2, 2), np.float32), "batch1": x[None], "batch2": y.T[None].copy()}, x @ y.T),
        Made("aten.addr.default", {"self": np.zeros((2, 2), np.float32), "vec1": np.float32([1, 2]), "vec2": np.float32([3, 4])}, np.float32([[3, 4], [6, 8]])),
        Made("aten.mv.default", {"self": x, "vec": np.float32([1, 2, 3])}, x @ np.float32([1, 2, 3])), Made("aten.mm.default", {"self": x, "mat2": y.T.copy()}, x @ y.T),
        Made("aten.kron.default", {"self": np.float32([[1, 2]]), "other": np.float32([[3], [4]])}, np.kron(np.float32([[1, 2]]), np.float32([[3], [4]]))),
        Made("aten.avg_pool1d.default", {"self": np.float32([[[1, 2, 3, 4, 5]]]), "kernel_size": [2], "ceil_mode": True}, np.float32([[[1.5, 3.5, 5]]])),
        Made("aten.avg_pool2d.default", {"self": np.float32([[[[1, 2], [3, 4]]]]), "kernel_size": [2, 2], "divisor_override": 2}, np.float32([[[[5]]]]), name="average with its own divisor"),
        Made("aten.adaptive_avg_pool1d.default", {"self": np.float32([[[1, 2, 3]]]), "output_size": [2]}, np.float32([[[1.5, 2.5]]])),
        Made("aten.adaptive_max_pool1d.default", {"self": np.float32([[[1, 4, 3]]]), "output_size": [2]}, np.float32([[[4, 4]]]), i64(1, 1).reshape(1, 1, 2)),
        Made("aten.upsample_nearest1d.default", {"self": np.float32([[[1, 2]]]), "output_size": [4]}, np.float32([[[1, 1, 2, 2]]])),
        Made("aten.upsample_linear1d.default", {"self": np.float32([[[0, 4]]]), "output_size": [4], "align_corners": False}, np.float32([[[0, 1, 3, 4]]])),
        Made("aten.fft_fft.default", {"self": np.complex64([[1, 0], [0, 1]])}, np.complex64([1]), name="skipped") if False else None,
        Made("aten.rnn_tanh_cell.default", {"input": x, "hx": f(2, 2) * 0, "w_ih": np.eye(2, 3, dtype=np.float32), "w_hh": np.eye(2, dtype=np.float32)}, np.tanh(x[:, :2])),
        Made("aten.rnn_relu_cell.default", {"input": x, "hx": f(2, 2) * 0, "w_ih": np.eye(2, 3, dtype=np.float32), "w_hh": np.eye(2, dtype=np.float32)}, np.maximum(x[:, :2], 0)),
        Made("quantized_decomposed.quantize_per_tensor.default", {"input": np.float32([-1, .26, 9]), "scale": .1, "zero_point": 3, "quant_min": -127, "quant_max": 50, "dtype": 2}, np.array([-7, 6, 50], np.int8)),
        Made("quantized_decomposed.dequantize_per_tensor.default", {"input": np.array([-7, 6], np.int8), "scale": .1, "zero_point": 3, "quant_min": -128, "quant_max": 127, "dtype": 2}, np.float32([-1, .3])),
        Made("quantized_decomposed.quantize_per_channel.default", {"input": np.float32([[1], [1]]), "scales": np.float32([.1, .5]), "zero_points": i64(0, 1), "axis": 0, "quant_min": -128, "quant_max": 127, "dtype": 2}, np.array([[10], [3]], np.int8)),
        Made("quantized_decomposed.dequantize_per_channel.default", {"input": np.array([[10], [3]], np.int8), "scales": np.float32([.1, .5]), "zero_points": i64(0, 1), "axis": 0, "quant_min": -128, "quant_max": 127, "dtype": 2}, np.float32([[1], [1]])),
    ]
    inf, nan = np.inf, np.nan
    a, b = np.float32([[1, -2, 3], [-4, 5, .5]]), np.float32([[2, 1, -1], [.5, -3, 2]])
    d = np.abs(a - b)
    log_p = np.log(np.float32([[.2, .5, .3], [.6, .1, .3]]))
    square = np.float32([[2, 1, 0], [1, 3, 1], [0, 1, 4]])
    yield from [
        Made("aten.signbit.default", {"self": np.float32([-0., 0, -3, 2])}, np.array([True, False, True, False])),
        Made("aten.copysign.Tensor", {"self": np.float32([1, -2, 3]), "other": np.float32([-0., 5, -1])}, np.float32([-1, 2, -3])),
        Made("aten.heaviside.default", {"self": np.float32([-1, 0, 2]), "values": np.float32([7, 7, 7])}, np.float32([0, 7, 1])),
        Made("aten.ldexp.Tensor", {"self": np.float32([1.5, 3]), "other": i64(2, -1)}, np.float32([6, 1.5])),
        Made("aten.logaddexp2.default", {"self": x, "other": y}, np.logaddexp2(x, y)),
        Made("aten.sinc.default", {"self": np.float32([0, .5, -1.25])}, np.sinc(np.float32([0, .5, -1.25]))),
        Made("aten.special_entr.default", {"self": np.float32([0, .5, -1])}, np.float32([0, -.5 * np.log(.5), -inf])),
        Made("aten.broadcast_tensors.default", {"tensors": [np.float32([[1], [2]]), np.float32([3, 4])]}, np.float32([[1, 1], [2, 2]]), np.float32([[3, 4], [3, 4]])),
        Made("aten.special_ndtr.default", {"self": np.float32([0, 1])}, np.float32([.5, .84134475])),
        Made("aten.nansum.default", {"self": np.float32([[1, nan], [2, 3]]), "dim": [1]}, np.float32([1, 5])),
        Made("aten.angle.default", {"self": np.float32([-2, 0, 3])}, np.float32([np.pi, 0, 0]), name="angles of real numbers"),
        Made("aten.isreal.default", {"self": x}, np.ones((2, 3), bool)),
        Made("aten.isin.Tensor_Tensor", {"elements": i64(1, 2, 3), "test_elements": i64(3, 1)}, np.array([True, False, True])),
        Made("aten._is_all_true.default", {"self": np.array([True, True])}, np.array(True)),
        Made("aten._safe_softmax.default", {"self": np.float32([[-inf, -inf], [0, 0]]), "dim": -1}, np.float32([[0, 0], [.5, .5]])),
        Made("aten.diff.default", {"self": np.float32([1, 4, 9, 16]), "n": 2}, np.float32([2, 2])),
        Made("aten.inner.default", {"self": a, "other": b}, a @ b.T), Made("aten.vdot.default", {"self": a[0], "other": b[0]}, a[0] @ b[0]),
        Made("aten.chain_matmul.default", {"matrices": [a, square, b.T.copy()]}, a @ square @ b.T),
        Made("aten.linalg_cross.default", {"self": a, "other": b}, np.cross(a, b)),
        Made("aten.linalg_vecdot.default", {"x": a, "y": b}, (a * b).sum(1)), Made("aten.trace.default", {"self": a}, np.float32(6)),
        Made("aten.linalg_norm.default", {"self": a}, np.sqrt((a * a).sum())),
        Made("aten.linalg_matrix_norm.default", {"self": a, "ord": float("inf"), "dim": [-2, -1]}, np.abs(a).sum(1).max()),
        Made("aten.dist.default", {"self": a, "other": b, "p": 1}, d.sum()),
        Made("aten.renorm.default", {"self": np.float32([[3, 4], [.3, .4]]), "p": 2, "dim": 0, "maxnorm": 1}, np.float32([[.6, .8], [.3, .4]])),
        Made("aten.linalg_det.default", {"A": square}, np.float32(18)), Made("aten.matrix_power.default", {"self": square, "n": 3}, square @ square @ square),
        Made("aten.smooth_l1_loss.default", {"self": a, "target": b, "beta": 2.}, np.where(d < 2, d * d / 4, d - 1).mean()),
        Made("aten.huber_loss.default", {"self": a, "target": b, "delta": 2., "reduction": 2}, np.where(d < 2, d * d / 2, 2 * (d - 1)).sum()),
        Made("aten.binary_cross_entropy_with_logits.default", {"self": np.float32([1, -2]), "target": np.float32([1, 0])}, np.float32(np.mean([np.log1p(np.exp(-1.)), np.log1p(np.exp(-2.))]))),
        Made("aten.kl_div.default", {"self": log_p, "target": np.float32([[0, 1, 0], [.5, .5, 0]]), "reduction": 0},
             np.float32([[0, -log_p[0, 1], 0], [.5 * np.log(.5) - .5 * log_p[1, 0], .5 * np.log(.5) - .5 * log_p[1, 1], 0]])),
        Made("aten.nll_loss_nd.default", {"self": log_p, "target": i64(1, 2)}, -(log_p[0, 1] + log_p[1, 2]) / 2),
        Made("aten.cross_entropy_loss.default", {"self": log_p, "target": i64(1, -100), "reduction": 2}, -log_p[0, 1]),
        Made("aten.cross_entropy_loss.default", {"self": log_p, "target": np.float32([[0, 1, 0], [.5, .5, 0]])}, -(log_p[0, 1] + (log_p[1, 0] + log_p[1, 1]) / 2) / 2, name="cross entropy of probabilities"),
        Made("aten._unique2.default", {"self": i64(3, 1, 3, 2), "return_inverse": True, "return_counts": True}, i64(1, 2, 3), i64(2, 0, 2, 1), i64(1, 1, 2)),
        Made("aten.unique_consecutive.default", {"self": i64(1, 1, 2, 1), "return_inverse": True, "return_counts": True}, i64(1, 2, 1), i64(0, 0, 1, 2), i64(2, 1, 1)),
        Made("aten.bincount.default", {"self": i64(1, 3, 1), "minlength": 6}, i64(0, 2, 0, 1, 0, 0)),
        Made("aten.histc.default", {"self": np.float32([-1, -.9, 0, 1, 3]), "bins": 4, "min": -1, "max": 1}, np.float32([2, 0, 1, 1])),
        Made("aten.argwhere.default", {"self": np.float32([[0, 1], [2, 0]])}, i64(0, 1, 1, 0).reshape(2, 2)),
        Made("aten.nonzero_static.default", {"self": np.float32([0, 1, 2]), "size": 3}, i64(1, 2, -1).reshape(3, 1)),
        Made("torchvision.nms.default", {"dets": np.float32([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]]), "scores": np.float32([.6, .9, .7]), "iou_threshold": .4}, i64(1, 2)),
        Made("torchvision.roi_align.default", {"input": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), "rois": np.float32([[0, 0, 0, 4, 4]]), "spatial_scale": 1., "pooled_height": 2, "pooled_width": 2, "sampling_ratio": 1, "aligned": True}, np.float32([[[[2.5, 4.5], [10.5, 12.5]]]])),
        Made("aten.pdist.default", {"self": np.float32([[0, 0], [3, 4], [0, 1]])}, np.float32([5, 1, np.sqrt(18)])),
        Made("aten.put.default", {"self": np.zeros((2, 2), np.float32), "index": i64(3, 0), "source": np.float32([5, 6])}, np.float32([[6, 0], [0, 5]])),
        Made("aten.scatter_reduce.two", {"self": np.float32([1, 2, 3]), "dim": 0, "index": i64(0, 0), "src": np.float32([4, 7]), "reduce": "mean"}, np.float32([4, 2, 3]), name="scatter of means"),
        Made("aten.max_unpool2d.default", {"self": np.float32([[[[5, 6]]]]), "indices": i64(3, 4).reshape(1, 1, 1, 2), "output_size": [2, 4]}, np.float32([[[[0, 0, 0, 5], [6, 0, 0, 0]]]])),
        Made("aten.conv_tbc.default", {"self": np.float32([1, 2, 3]).reshape(3, 1, 1), "weight": np.float32([1, 10]).reshape(2, 1, 1), "bias": np.float32([.5]), "pad": 0}, np.float32([21.5, 32.5]).reshape(2, 1, 1)),
        Made("aten.fake_quantize_per_tensor_affine.default", {"self": np.float32([-9, .26, 1]), "scale": .1, "zero_point": 3, "quant_min": -127, "quant_max": 127}, np.float32([-9, .3, 1])),
        Made("aten._int_mm.default", {"self": np.array([[1, -2]], np.int8), "mat2": np.array([[100], [3]], np.int8)}, np.array([[94]], np.int32)),
        Made("aten._weight_int8pack_mm.default", {"self": np.float32([[1, 2]]), "mat2": np.array([[10, -4]], np.int8), "scales": np.float32([.5])}, np.float32([[1]])),
        Made("aten.as_strided.default", {"self": np.arange(6, dtype=np.float32), "size": [2, 3], "stride": [1, 2]}, np.float32([[0, 2, 4], [1, 3, 5]])),
        Made("aten.as_strided_scatter.default", {"self": np.zeros(4, np.float32), "src": np.float32([1, 2]), "size": [2], "stride": [2], "storage_offset": 1}, np.float32([0, 1, 0, 2])),
        Made("aten.diagonal_scatter.default", {"self": np.zeros((2, 3), np.float32), "src": np.float32([1, 2]), "offset": 1}, np.float32([[0, 1, 0], [0, 0, 2]])),
        Made("aten.fill_diagonal.default", {"self": np.zeros((2, 3), np.float32), "fill_value": 4}, np.float32([[4, 0, 0], [0, 4, 0]])),
        Made("aten.fft_fftshift.default", {"self": np.float32([0, 1, 2, 3, 4])}, np.float32([3, 4, 0, 1, 2])),
        Made("aten.fft_fftfreq.default", {"n": 4, "d": .5}, np.float32([0, .5, -1, -.5])),
        Made("aten.kaiser_window.beta", {"window_length": 4, "periodic": False, "beta": 8.}, np.kaiser(4, 8).astype(np.float32)),
        Made("aten._native_batch_norm_legit.no_stats", {"input": np.float32([[[1, 3]], [[5, 7]]]), "training": True, "eps": 0.}, (np.float32([[[1, 3]], [[5, 7]]]) - 4) / np.sqrt(np.float32(5))),
    ]


def several(name, inputs, nodes, between, outputs, integers=()):
    """A program of several operators: nodes are (target, {argument: union}, [output unions])."""
    tensor_arg = lambda n: {"as_tensor": {"name": n}}
    arrays = {**inputs, **between, **outputs}
    graph = {"inputs": [tensor_arg(n) for n in inputs], "outputs": [tensor_arg(n) for n in outputs],
             "nodes": [{"target": "torch.ops." + target if not target.startswith("_operator") else target,
                        "inputs": [{"name": key, "arg": value} for key, value in arguments], "outputs": made}
                       for target, arguments, made in nodes],
             "tensor_values": {n: Made.meta(np.asarray(a)) for n, a in arrays.items()}, "sym_int_values": dict(integers)}
    signature = {"input_specs": [{"user_input": {"arg": tensor_arg(n)}} for n in inputs],
                 "output_specs": [{"user_output": {"arg": tensor_arg(n)}} for n in outputs]}
    return {"name": name, "weights": {}, "inputs": [tensor(str(a.dtype), a.shape, a) for a in inputs.values()],
            "program": {"graph_module": {"graph": graph, "signature": signature},
                        "schema_version": {"major": 8, "minor": 2}, "torch_version": ""},
            "outputs": [tensor(str(np.asarray(a).dtype), np.asarray(a).shape, a) for a in outputs.values()]}


def programs_here():
    t = lambda n: {"as_tensor": {"name": n}}
    sym = lambda n: {"as_sym_int": {"as_name": n}}
    x, y = np.float32([1, 2]), np.float32([3, -4])
    c = (x + 1j * y).astype(np.complex64)
    yield several("complex numbers taken apart", {"x": x, "y": y},
                  [("aten.complex.default", [("real", t("x")), ("imag", t("y"))], [t("c")]),
                   ("aten._conj.default", [("self", t("c"))], [t("d")]),
                   ("aten.real.default", [("self", t("d"))], [t("r")]),
                   ("aten.imag.default", [("self", t("d"))], [t("i")])],
                  {"c": c, "d": c}, {"r": x, "i": -y})
    pair = np.float32([[1, 2], [3, -4]])
    parts = lambda z: np.stack([z.real, z.imag], -1).astype(np.float32)
    flat = np.fft.rfftn(pair).astype(np.complex64)
    yield several("a spectrum of two axes", {"x": pair},
                  [("aten._fft_r2c.default", [("self", t("x")), ("dim", {"as_ints": [0, 1]}), ("normalization", {"as_int": 0}), ("onesided", {"as_bool": True})], [t("c")]),
                   ("aten.permute.default", [("self", t("c")), ("dims", {"as_ints": [1, 0]})], [t("p")]),
                   ("aten.view_as_real.default", [("self", t("p"))], [t("z")]),
                   ("aten._fft_c2r.default", [("self", t("c")), ("dim", {"as_ints": [0, 1]}), ("normalization", {"as_int": 2}), ("last_dim_size", {"as_int": 2})], [t("back")])],
                  {"c": flat, "p": flat.T.copy()}, {"z": parts(flat.T), "back": pair})
    yield several("arithmetic of complex numbers", {"x": x, "y": y},
                  [("aten.complex.default", [("real", t("x")), ("imag", t("y"))], [t("c")]),
                   ("aten.div.Tensor", [("self", t("x")), ("other", t("c"))], [t("d")]),
                   ("aten.exp.default", [("self", t("d"))], [t("e")]),
                   ("aten.view.default", [("self", t("e")), ("size", {"as_ints": [2, 1]})], [t("v")]),
                   ("aten.view.default", [("self", t("c")), ("size", {"as_ints": [1, 2]})], [t("w")]),
                   ("aten.mm.default", [("self", t("v")), ("mat2", t("w"))], [t("m")]),
                   ("aten.view_as_real.default", [("self", t("m"))], [t("z")]),
                   ("aten.angle.default", [("self", t("c"))], [t("a")])],
                  {"c": c, "d": c, "e": c, "v": c.reshape(2, 1), "w": c.reshape(1, 2), "m": np.outer(c, c)},
                  {"z": parts(np.exp(x / c)[:, None] @ c[None]), "a": np.angle(c).astype(np.float32)})
    inner = {"inputs": [t("x")], "outputs": [t("m")], "sym_int_values": {},
             "nodes": [{"target": "torch.ops.aten.mul.Tensor", "outputs": [t("m")],
                        "inputs": [{"name": "self", "arg": t("x")}, {"name": "other", "arg": {"as_int": 2}}]}],
             "tensor_values": {"x": Made.meta(x), "m": Made.meta(x)}}
    yield several("a graph inside", {"x": x},
                  [("higher_order.wrap_with_set_grad_enabled",
                    [("", {"as_bool": False}), ("", {"as_graph": {"name": "g", "graph": inner}}), ("", t("x"))],
                    [{"as_tensors": [{"name": "z"}]}])],
                  {}, {"z": x * 2})
    steps = np.float32([[1, 2], [3, 4], [5, 6]])
    body = {"inputs": [t("c"), t("s")], "outputs": [t("n"), t("o")], "sym_int_values": {},
            "nodes": [{"target": "torch.ops.aten.add.Tensor", "outputs": [t("n")],
                       "inputs": [{"name": "self", "arg": t("c")}, {"name": "other", "arg": t("s")}]},
                      {"target": "torch.ops.aten.mul.Tensor", "outputs": [t("o")],
                       "inputs": [{"name": "self", "arg": t("n")}, {"name": "other", "arg": t("s")}]}],
            "tensor_values": {n: Made.meta(x) for n in "csno"}}
    sums = x + np.cumsum(steps, 0)
    yield several("a scan", {"x": x, "xs": steps},
                  [("higher_order.scan",
                    [("", {"as_graph": {"name": "g", "graph": body}}), ("", {"as_tensors": [{"name": "x"}]}),
                     ("", {"as_tensors": [{"name": "xs"}]}), ("", {"as_tensors": []})],
                    [t("z"), t("ys")])],
                  {}, {"z": sums[-1], "ys": sums * steps})
    times = np.arange(24)
    signal = np.sin(times * times / 40).astype(np.float32)
    window = np.hamming(8).astype(np.float32)
    frames = np.stack([np.fft.rfft(signal[i:i + 8] * window) for i in range(0, 17, 4)], 1).astype(np.complex64)
    yield several("a signal from its frames", {"s": parts(frames), "w": window},
                  [("aten.view_as_complex.default", [("self", t("s"))], [t("c")]),
                   ("aten.istft.default", [("self", t("c")), ("n_fft", {"as_int": 8}), ("hop_length", {"as_int": 4}), ("window", t("w")), ("center", {"as_bool": False})], [t("y")]),
                   ("aten.istft.default", [("self", t("c")), ("n_fft", {"as_int": 8}), ("hop_length", {"as_int": 4}), ("window", t("w")), ("length", {"as_int": 12})], [t("z")])],
                  {"c": frames}, {"y": signal, "z": signal[4:16]})
    row = np.float32([[1, 2, 3], [4, 5, 6]])
    changed = row.copy()
    changed[:, 1:] = 0
    changed[0] = 5
    yield several("numbers written into parts", {"x": row},
                  [("aten.clone.default", [("self", t("x"))], [t("c")]),
                   ("aten.slice.Tensor", [("self", t("c")), ("dim", {"as_int": 1}), ("start", {"as_int": 1}), ("end", {"as_int": 3})], [t("s")]),
                   ("aten.fill_.Scalar", [("self", t("s")), ("value", {"as_float": 0.})], [t("f")]),
                   ("aten.select.int", [("self", t("c")), ("dim", {"as_int": 0}), ("index", {"as_int": 0})], [t("r")]),
                   ("aten.fill_.Scalar", [("self", t("r")), ("value", {"as_float": 5.})], [t("g")]),
                   ("aten.add.Tensor", [("self", t("c")), ("other", {"as_int": 0})], [t("z")])],
                  {"c": row, "s": row[:, 1:], "f": row[:, 1:], "r": row[0], "g": row[0]}, {"z": changed})
    free = {"as_expr": {"expr_str": "Symbol('u0', integer=True)"}}
    yield several("numbers of the graph", {"x": x, "k": np.int64(5)},
                  [("aten.sym_numel.default", [("self", t("x"))], [sym("n")]),
                   ("aten.item.default", [("self", t("k"))], [sym("u0")]),
                   ("_operator.ge", [("a", sym("u0")), ("b", {"as_int": 0})], [{"as_sym_bool": {"as_name": "ok"}}]),
                   ("aten._assert_scalar.default", [("self", {"as_sym_bool": {"as_name": "ok"}}), ("assert_msg", {"as_string": "no"})], []),
                   ("aten.mul.Tensor", [("self", t("x")), ("other", sym("n"))], [t("a")]),
                   ("aten.add.Tensor", [("self", t("a")), ("other", sym("u0"))], [t("z")])],
                  {"a": x}, {"z": x * 2 + 5}, {"n": {"as_int": 2}, "u0": free}.items())


def standard(value):
    """Without the bare Infinity and NaN of Python's json; readers take them as texts too."""
    if isinstance(value, dict): return {key: standard(item) for key, item in value.items()}
    if isinstance(value, list): return [standard(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def main():
    examples = from_corpus(pathlib.Path(sys.argv[1]))
    for made in made_here():
        if made is None: continue
        example = made.example
        if example["name"] == "aten.moveaxis.intlist":
            moved = np.moveaxis(np.float32(example["inputs"][0]["data"]).reshape(2, 3, 4), 0, 2)
            example["outputs"][0]["data"] = numbers(moved)
        examples[example["name"]] = example
    for example in programs_here(): examples[example["name"]] = example
    lines = [json.dumps(standard(examples[name]), separators=(",", ":")) for name in sorted(examples)]
    out = pathlib.Path(__file__).parent / "pt2" / "examples.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(len(examples), "examples,", out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
