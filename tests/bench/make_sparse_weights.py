#!/usr/bin/env python3
"""Writes a .pt2 program and a safetensors file of any size that take no room on disk: their weights are holes.

    make_sparse_weights.py FOLDER [GIGABYTES]    # big.pt2 and big.safetensors; default 3

The program adds slices of its one embedding per gigabyte, so that every weight is used and none is copied.
"""
import json
import pathlib
import struct
import sys

ROWS = 1 << 18  # rows of 1024 floats: 1 GiB a table


def meta(*dims, dtype=7):
    strides, step = [], 1
    for dim in reversed(dims):
        strides.insert(0, {"as_int": step})
        step *= dim
    return {"dtype": dtype, "sizes": [{"as_int": d} for d in dims], "strides": strides, "storage_offset": {"as_int": 0}}


def tensor(name): return {"as_tensor": {"name": name}}


def program(count):
    values, nodes, specs, inputs, last = {"i": meta(4, dtype=5)}, [], [], [], None
    for k in range(count):
        values[f"p_{k}"], values[f"e_{k}"] = meta(ROWS, 1024), meta(4, 1024)
        inputs.append(tensor(f"p_{k}"))
        specs.append({"parameter": {"arg": {"name": f"p_{k}"}, "parameter_name": f"table.{k}"}})
        nodes.append({"target": "torch.ops.aten.embedding.default", "outputs": [tensor(f"e_{k}")],
                      "inputs": [{"name": "weight", "arg": tensor(f"p_{k}")}, {"name": "indices", "arg": tensor("i")}]})
        if last:
            values[f"s_{k}"] = meta(4, 1024)
            nodes.append({"target": "torch.ops.aten.add.Tensor", "outputs": [tensor(f"s_{k}")],
                          "inputs": [{"name": "self", "arg": tensor(last)}, {"name": "other", "arg": tensor(f"e_{k}")}]})
        last = f"s_{k}" if last else f"e_{k}"
    specs.append({"user_input": {"arg": tensor("i")}})
    graph = {"inputs": inputs + [tensor("i")], "outputs": [tensor(last)], "nodes": nodes, "tensor_values": values, "sym_int_values": {}}
    return {"graph_module": {"graph": graph, "signature": {"input_specs": specs, "output_specs": [{"user_output": {"arg": tensor(last)}}]}},
            "schema_version": {"major": 8, "minor": 2}, "torch_version": ""}


def write_zip(path, entries):
    """Stored entries (name, bytes or a number of zero bytes); checksums of holes are left 0, since nobody expands them."""
    import zlib
    directory = b""
    with open(path, "wb") as out:
        for name, data in entries:
            offset, hole = out.tell(), isinstance(data, int)
            size = data if hole else len(data)
            crc = 0 if hole else zlib.crc32(data)
            big = size >= 0xffffffff or offset >= 0xffffffff
            extra = struct.pack("<HHQQQ", 1, 24, size, size, offset) if big else b""
            short = 0xffffffff if big else size
            facts = struct.pack("<HHHIIIHH", 0, 0, 33, crc, short, short, len(name), len(extra))
            out.write(b"PK\x03\x04" + struct.pack("<HH", 45, 0) + facts + name.encode() + extra)
            out.seek(size, 1) if hole else out.write(data)
            directory += (b"PK\x01\x02" + struct.pack("<HHH", 45, 45, 0) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0xffffffff if big else offset) +
                          name.encode() + extra)
        at = out.tell()
        out.write(directory)
        end64 = out.tell()
        out.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, len(entries), len(entries), len(directory), at))
        out.write(b"PK\x06\x07" + struct.pack("<IQI", 0, end64, 1))
        out.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), 0xffffffff, 0))


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    size = ROWS * 1024 * 4
    config = {"config": {f"table.{k}": {"path_name": f"weight_{k}", "is_param": True, "use_pickle": False, "tensor_meta": meta(ROWS, 1024)}
                         for k in range(count)}}
    entries = [("big/archive_format", b"pt2"), ("big/models/model.json", json.dumps(program(count)).encode()),
               ("big/data/weights/model_weights_config.json", json.dumps(config).encode())]
    entries += [(f"big/data/weights/weight_{k}", size) for k in range(count)]
    write_zip(folder / "big.pt2", entries)
    header = json.dumps({f"table.{k}": {"dtype": "F32", "shape": [ROWS, 1024], "data_offsets": [k * size, (k + 1) * size]}
                         for k in range(count)}).encode()
    with open(folder / "big.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        out.truncate(8 + len(header) + count * size)


if __name__ == "__main__":
    main()
