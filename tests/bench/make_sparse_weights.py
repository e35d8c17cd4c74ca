#!/usr/bin/env python3
"""Writes a .tflite model, a .pt2 program and a safetensors file of any size.

    make_sparse_weights.py FOLDER [GIGABYTES]          # big.tflite, big.pt2 and big.safetensors; default 3
    make_sparse_weights.py FOLDER --filled MEGABYTES   # filled.tflite, filled.pt2, filled.safetensors

The first kind takes no room on disk: the weights are holes. The programs add slices of one embedding per gigabyte, so that
every weight is used and none is copied. The second kind has random weights, and its .tflite is a chain of 3 x 3 convolutions,
whose weights change their layout on the way to ONNX.
"""
import json
import os
import pathlib
import struct
import sys

WIDTH = 1024
ROWS = 1 << 18  # rows of 1024 floats: 1 GiB a table
CONVOLUTION = [WIDTH, 3, 3, WIDTH]  # 36 MiB


def meta(*dims, dtype=7):
    strides, step = [], 1
    for dim in reversed(dims):
        strides.insert(0, {"as_int": step})
        step *= dim
    return {"dtype": dtype, "sizes": [{"as_int": d} for d in dims], "strides": strides, "storage_offset": {"as_int": 0}}


def tensor(name): return {"as_tensor": {"name": name}}


def program(count, rows):
    values, nodes, specs, inputs, last = {"i": meta(4, dtype=5)}, [], [], [], None
    for k in range(count):
        values[f"p_{k}"], values[f"e_{k}"] = meta(rows, WIDTH), meta(4, WIDTH)
        inputs.append(tensor(f"p_{k}"))
        specs.append({"parameter": {"arg": {"name": f"p_{k}"}, "parameter_name": f"table.{k}"}})
        nodes.append({"target": "torch.ops.aten.embedding.default", "outputs": [tensor(f"e_{k}")],
                      "inputs": [{"name": "weight", "arg": tensor(f"p_{k}")}, {"name": "indices", "arg": tensor("i")}]})
        if last:
            values[f"s_{k}"] = meta(4, WIDTH)
            nodes.append({"target": "torch.ops.aten.add.Tensor", "outputs": [tensor(f"s_{k}")],
                          "inputs": [{"name": "self", "arg": tensor(last)}, {"name": "other", "arg": tensor(f"e_{k}")}]})
        last = f"s_{k}" if last else f"e_{k}"
    specs.append({"user_input": {"arg": tensor("i")}})
    graph = {"inputs": inputs + [tensor("i")], "outputs": [tensor(last)], "nodes": nodes, "tensor_values": values, "sym_int_values": {}}
    return {"graph_module": {"graph": graph, "signature": {"input_specs": specs, "output_specs": [{"user_output": {"arg": tensor(last)}}]}},
            "schema_version": {"major": 8, "minor": 2}, "torch_version": ""}


class Weights:
    """Bytes of a weight that are made while they are written: a hole, or random ones."""

    def __init__(self, size, filled=False):
        self.size, self.filled = size, filled

    def write(self, out):
        if not self.filled:
            return out.seek(self.size, 1)
        # Random bytes whose exponents are those of small numbers: the high byte of each float is 0x3c or 0xbc.
        block = bytearray(os.urandom(1 << 20))
        block[3::4] = bytes(0x3c | b & 0x80 for b in block[3::4])
        for at in range(0, self.size, len(block)):
            out.write(block[:self.size - at])


def write_zip(path, entries):
    """Stored entries (name, bytes or Weights); checksums of weights are left 0, since nobody expands them."""
    import zlib
    directory = b""
    with open(path, "wb") as out:
        for name, data in entries:
            offset, is_weight = out.tell(), isinstance(data, Weights)
            size = data.size if is_weight else len(data)
            crc = 0 if is_weight else zlib.crc32(data)
            big = size >= 0xffffffff or offset >= 0xffffffff
            extra = struct.pack("<HHQQQ", 1, 24, size, size, offset) if big else b""
            short = 0xffffffff if big else size
            facts = struct.pack("<HHHIIIHH", 0, 0, 33, crc, short, short, len(name), len(extra))
            out.write(b"PK\x03\x04" + struct.pack("<HH", 45, 0) + facts + name.encode() + extra)
            data.write(out) if is_weight else out.write(data)
            directory += (b"PK\x01\x02" + struct.pack("<HHH", 45, 45, 0) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0xffffffff if big else offset) +
                          name.encode() + extra)
        at = out.tell()
        out.write(directory)
        end64 = out.tell()
        out.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, len(entries), len(entries), len(directory), at))
        out.write(b"PK\x06\x07" + struct.pack("<IQI", 0, end64, 1))
        out.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), 0xffffffff, 0))


class Table(dict):
    """A FlatBuffers table: field number -> ("b", "i", "I" or "Q", a number), or an object."""


def flatbuffer(root):
    """FlatBuffers bytes of tables, lists of tables or numbers, and strings; every object lies behind what refers to it."""
    out = bytearray(struct.pack("<I4s", 0, b"TFL3"))
    waiting = [(0, root)]

    def refer(at, value):
        waiting.append((at, value))

    while waiting:
        at, value = waiting.pop(0)
        out.extend(bytes(-len(out) % 8))
        if isinstance(value, Table):
            sizes = {n: {"b": 1, "Q": 8}.get(v[0], 4) if isinstance(v, tuple) else 4 for n, v in value.items()}
            places, end = {}, 4
            for number in sorted(value, key=lambda n: -sizes[n]):
                end += -end % sizes[number]
                places[number], end = end, end + sizes[number]
            slots = max(value) + 1 if value else 0
            vtable = struct.pack("<HH", 4 + 2 * slots, end) + b"".join(struct.pack("<H", places.get(n, 0)) for n in range(slots))
            vtable += bytes(-len(vtable) % 8)
            start = len(out) + len(vtable)
            out += vtable + struct.pack("<i", len(vtable)) + bytes(end - 4)
            for number, field in value.items():
                if isinstance(field, tuple):
                    struct.pack_into("<" + field[0], out, start + places[number], field[1])
                else:
                    refer(start + places[number], field)
        elif isinstance(value, str):
            start = len(out)
            out += struct.pack("<I", len(value)) + value.encode() + b"\0"
        else:
            start = len(out)
            out += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for i, item in enumerate(value):
                if isinstance(item, int):
                    struct.pack_into("<i", out, start + 4 + 4 * i, item)
                else:
                    refer(start + 4 + 4 * i, item)
        struct.pack_into("<I", out, at, start - at)
    return bytes(out)


FLOAT32, INT32 = 0, 2
ADD, CONV_2D, GATHER = 0, 3, 36
CONV_OPTIONS, GATHER_OPTIONS = 1, 23


def write_tflite(path, weights, shape, code):
    """Weights of one shape in buffers by offset: gathered from by the same indices and added up, or convolutions in a row."""
    size = 4
    for extent in shape:
        size *= extent
    tensors, operators = [], []

    def add(name, dims, kind=FLOAT32, buffer=0):
        tensors.append(Table({0: list(dims), 1: ("b", kind), 2: ("I", buffer), 3: name}))
        return len(tensors) - 1

    def operate(opcode, inputs, output, options_type=None, options=None):
        operators.append(Table({0: ("I", opcode), 1: inputs, 2: [output]}))
        if options_type is not None:
            operators[-1].update({3: ("b", options_type), 4: options})
        return output

    first = add("x", [1, 3, 3, shape[-1]]) if code == CONV_2D else add("i", [4], INT32)
    bias = add("bias", shape[:1], buffer=len(weights) + 1) if code == CONV_2D else None
    last = first if code == CONV_2D else None
    for k in range(len(weights)):
        weight = add(f"w{k}", shape, buffer=k + 1)
        if code == CONV_2D:
            options = Table({0: ("b", 0), 1: ("i", 1), 2: ("i", 1)})
            last = operate(1, [last, weight, bias], add(f"y{k}", [1, 3, 3, shape[0]]), CONV_OPTIONS, options)
        else:
            made = operate(1, [weight, first], add(f"e{k}", [4, shape[1]]), GATHER_OPTIONS, Table({0: ("i", 0)}))
            last = made if last is None else operate(0, [last, made], add(f"s{k}", [4, shape[1]]))
    sizes = [size] * len(weights) + [4 * shape[0]] * (code == CONV_2D)

    def file(start):
        buffers, at = [Table()], start
        for length in sizes:
            buffers.append(Table({1: ("Q", at), 2: ("Q", length)}))
            at += length
        codes = [Table({0: ("b", number), 2: ("i", 1), 3: ("i", number)}) for number in (ADD, code)]
        graph = Table({0: tensors, 1: [first], 2: [last], 3: operators, 4: "main"})
        return flatbuffer(Table({0: ("I", 3), 1: codes, 2: [graph], 3: "weights of any size", 4: buffers}))

    start = -(-len(file(0)) // 4096) * 4096
    with open(path, "wb") as out:
        head = file(start)
        out.write(head + bytes(start - len(head)))
        for weight in weights:
            weight.write(out)
        out.truncate(start + sum(sizes))


def main():
    folder = pathlib.Path(sys.argv[1])
    filled = "--filled" in sys.argv
    amount = int(sys.argv[-1]) if len(sys.argv) > 2 else 3
    name = "filled" if filled else "big"
    rows = (32 << 20) // (4 * WIDTH) if filled else ROWS
    count = -(-amount // 32) if filled else amount
    size = rows * WIDTH * 4
    config = {"config": {f"table.{k}": {"path_name": f"weight_{k}", "is_param": True, "use_pickle": False, "tensor_meta": meta(rows, WIDTH)}
                         for k in range(count)}}
    entries = [(f"{name}/archive_format", b"pt2"), (f"{name}/models/model.json", json.dumps(program(count, rows)).encode()),
               (f"{name}/data/weights/model_weights_config.json", json.dumps(config).encode())]
    entries += [(f"{name}/data/weights/weight_{k}", Weights(size, filled)) for k in range(count)]
    write_zip(folder / f"{name}.pt2", entries)
    header = json.dumps({f"table.{k}": {"dtype": "F32", "shape": [rows, WIDTH], "data_offsets": [k * size, (k + 1) * size]}
                         for k in range(count)}).encode()
    with open(folder / f"{name}.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        for _ in range(count):
            Weights(size, filled).write(out)
        out.truncate(8 + len(header) + count * size)
    if filled:
        convolutions = -(-(amount << 20) // (36 << 20))
        write_tflite(folder / "filled.tflite", [Weights(36 << 20, True)] * convolutions, CONVOLUTION, CONV_2D)
    else:
        write_tflite(folder / "big.tflite", [Weights(size)] * count, [rows, WIDTH], GATHER)


if __name__ == "__main__":
    main()
