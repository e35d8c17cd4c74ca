#!/usr/bin/env python3
"""Makes the seeds of the fuzzers that read PyTorch's formats: plain zipfile, json and hand-made pickles, no torch.

    make_pytorch_seeds.py    # writes corpus/{pickle,pt2_graph,safetensors,model_reader} beside itself
"""
import io
import json
import pathlib
import struct
import zipfile

CORPUS = pathlib.Path(__file__).parent / "corpus"


def text(s): return b"X" + struct.pack("<I", len(s)) + s.encode()
def integer(n): return b"K" + bytes([n])


def tensor(kind, key, count, dims, strides):
    """torch._utils._rebuild_tensor_v2, as torch.save pickles it."""
    sizes = lambda values: b"(" + b"".join(map(integer, values)) + b"t"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) +
            text("cpu") + integer(count) + b"tQ" + integer(0) + sizes(dims) + sizes(strides) +
            b"\x89ccollections\nOrderedDict\n)RtR")


def pickle(items): return b"\x80\x02}q\x00(" + b"".join(text(k) + v for k, v in items) + b"u."


def archive(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for name, data in entries: z.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def program():
    meta = lambda *dims: {"dtype": 7, "sizes": [{"as_int": d} for d in dims], "strides": [{"as_int": 1} for _ in dims],
                          "storage_offset": {"as_int": 0}}
    t = lambda name: {"as_tensor": {"name": name}}
    nodes = [{"target": "torch.ops.aten.linear.default",
              "inputs": [{"name": "input", "arg": t("x")}, {"name": "weight", "arg": t("p_w")}], "outputs": [t("linear")]},
             {"target": "torch.ops.aten.add_.Tensor",
              "inputs": [{"name": "self", "arg": t("linear")}, {"name": "other", "arg": {"as_float": 1.5}}], "outputs": [t("add_")]}]
    graph = {"inputs": [t("p_w"), t("x")], "outputs": [t("add_")], "nodes": nodes, "sym_int_values": {},
             "tensor_values": {"p_w": meta(2, 3), "x": meta(1, 3), "linear": meta(1, 2), "add_": meta(1, 2)}}
    specs = {"input_specs": [{"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}}, {"user_input": {"arg": t("x")}}],
             "output_specs": [{"user_output": {"arg": t("add_")}}]}
    return {"graph_module": {"graph": graph, "signature": specs}, "schema_version": {"major": 8, "minor": 2}}


def normalized():
    """A convolution and its normalization."""
    meta = lambda *dims: {"dtype": 7, "sizes": [{"as_int": d} for d in dims], "storage_offset": {"as_int": 0}}
    t = lambda name: {"as_tensor": {"name": name}}
    names = ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    inputs = [f"p_{name.replace('.', '_')}" for name in names]
    nodes = [{"target": "torch.ops.aten.conv2d.default",
              "inputs": [{"name": "input", "arg": t("x")}, {"name": "weight", "arg": t(inputs[0])}], "outputs": [t("conv")]},
             {"target": "torch.ops.aten.batch_norm.default",
              "inputs": [{"name": "input", "arg": t("conv")}, {"name": "weight", "arg": t(inputs[1])}, {"name": "bias", "arg": t(inputs[2])},
                         {"name": "running_mean", "arg": t(inputs[3])}, {"name": "running_var", "arg": t(inputs[4])},
                         {"name": "training", "arg": {"as_bool": False}}, {"name": "momentum", "arg": {"as_float": .1}},
                         {"name": "eps", "arg": {"as_float": 1e-5}}], "outputs": [t("bn")]}]
    values = {"x": meta(1, 2, 3, 3), "conv": meta(1, 2, 3, 3), "bn": meta(1, 2, 3, 3), inputs[0]: meta(2, 2, 1, 1)}
    values.update({name: meta(2) for name in inputs[1:]})
    graph = {"inputs": [t(n) for n in inputs] + [t("x")], "outputs": [t("bn")], "nodes": nodes, "sym_int_values": {}, "tensor_values": values}
    specs = [{"parameter": {"arg": {"name": i}, "parameter_name": n}} for i, n in zip(inputs, names)] + [{"user_input": {"arg": t("x")}}]
    numbers = [[1, 2, 3, 4], [.5, 2], [1, -1], [.25, -.5], [4, .25]]
    tensors = [(n, tensor("FloatStorage", str(i), len(v), [2, 2, 1, 1] if i == 0 else [2], [2, 1, 1, 1] if i == 0 else [1]))
               for i, (n, v) in enumerate(zip(names, numbers))]
    data = [(f"m/data/{i}", struct.pack(f"<{len(v)}f", *v)) for i, v in enumerate(numbers)]
    state = archive([("m/data.pkl", pickle(tensors)), ("m/byteorder", b"little")] + data)
    counted = tensors + [("bn.num_batches_tracked", tensor("LongStorage", "5", 1, [], []))]
    trained = archive([("m/data.pkl", pickle(counted)), ("m/byteorder", b"little")] + data + [("m/data/5", struct.pack("<q", 7))])
    program = {"graph_module": {"graph": graph, "signature": {"input_specs": specs, "output_specs": [{"user_output": {"arg": t("bn")}}]}},
               "schema_version": {"major": 8, "minor": 2}}
    return archive([("serialized_exported_program.json", json.dumps(program).encode()), ("serialized_state_dict.pt", state),
                    ("version", b"8.2")]), trained


def without_weights():
    made = program()
    made["graph_module"]["signature"]["input_specs"][0] = {"user_input": {"arg": {"as_tensor": {"name": "p_w"}}}}
    return made


def safetensors(tensors, data):
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + data


def write(folder, name, data):
    (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    (CORPUS / folder / name).write_bytes(data)


def main():
    state = pickle([("w", tensor("FloatStorage", "0", 6, [2, 3], [3, 1]))])
    write("pickle", "state_dict", state)
    write("pickle", "strided", pickle([("a", tensor("HalfStorage", "1", 6, [3, 2], [1, 3])), ("n", integer(3))]))
    write("pickle", "refused", b"\x80\x02cos\nsystem\n" + text("id") + b"\x85R.")
    write("pickle", "protocol_4", b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01w\x94K\x05s.")
    write("pt2_graph", "linear", json.dumps(without_weights()).encode())
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    good = safetensors({"w": entry, "b": {"dtype": "I8", "shape": [], "data_offsets": [8, 9]}}, bytes(9))
    write("safetensors", "two", good)
    write("safetensors", "overlap", safetensors({"w": entry, "b": entry}, bytes(8)))
    write("model_reader", "weights.safetensors", good)
    checkpoint = archive([("m/data.pkl", state), ("m/byteorder", b"little"), ("m/data/0", bytes(24))])
    write("model_reader", "weights.pth", checkpoint)
    write("model_reader", "linear.pt2", archive([("serialized_exported_program.json", json.dumps(program()).encode()),
                                                 ("serialized_state_dict.pt", checkpoint), ("version", b"8.2")]))
    exported, trained = normalized()
    write("model_reader", "normalized.pt2", exported)
    write("model_reader", "normalized.pth", trained)
    config = {"config": {"w": {"path_name": "weight_0", "use_pickle": False, "tensor_meta": {
        "dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 3}], "strides": [{"as_int": 3}, {"as_int": 1}], "storage_offset": {"as_int": 0}}}}}
    write("model_reader", "linear_raw.pt2", archive([("m/archive_format", b"pt2"), ("m/models/model.json", json.dumps(program()).encode()),
                                                     ("m/data/weights/model_weights_config.json", json.dumps(config).encode()),
                                                     ("m/data/weights/weight_0", bytes(24))]))


if __name__ == "__main__":
    main()
