#!/usr/bin/env python3
"""Writes the TensorFlow Lite seeds of the fuzz target model_reader (corpus/model_reader/*.tflite).

Small models of a few operators each, written here as JSON and made binary by flatc with the reader's own schema:
./dev exec python3 tests/fuzz/make_tflite_seeds.py. They hold no trained weights and come from nowhere else.
"""
import json
import pathlib
import struct
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCHEMA = HERE.parents[1] / "core/formats/tflite/schema.fbs"


def floats(*values):
    return list(struct.pack("<%df" % len(values), *values))


def ints(*values):
    return list(struct.pack("<%di" % len(values), *values))


def tensor(name, shape, type="FLOAT32", buffer=0, **more):
    return dict(name=name, shape=shape, type=type, buffer=buffer, has_rank=True, **more)


def graph(tensors, inputs, outputs, operators, name="main"):
    return dict(name=name, tensors=tensors, inputs=inputs, outputs=outputs, operators=operators)


def operator(code, inputs, outputs, kind=None, **options):
    made = dict(opcode_index=code, inputs=inputs, outputs=outputs)
    if kind:
        made.update(builtin_options_type=kind, builtin_options=options)
    return made


def write(name, codes, graphs, buffers):
    model = dict(version=3, description="seed", subgraphs=graphs, buffers=[{}] + [dict(data=data) for data in buffers])
    model["operator_codes"] = [dict(deprecated_builtin_code=min(code, 127), builtin_code=code, version=1) for code in codes]
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / (name + ".json")
        source.write_text(json.dumps(model))
        subprocess.run(["flatc", "-b", "-o", folder, str(SCHEMA), str(source)], check=True)
        target = HERE / "corpus/model_reader" / (name + ".tflite")
        target.write_bytes((pathlib.Path(folder) / (name + ".bin")).read_bytes())


ADD, CONV, DEQUANTIZE, DENSE, POOL, RESHAPE, SOFTMAX, CUSTOM = 0, 3, 6, 9, 17, 22, 25, 32
SLICE, LESS, NEG, ABS, QUANTIZE, IF, WHILE, DENSIFY = 45, 58, 59, 101, 114, 118, 119, 124

write("conv", [CONV, ADD, POOL, RESHAPE, DENSE, SOFTMAX], [graph(
    [tensor("x", [1, 4, 4, 2]), tensor("w", [3, 3, 3, 2], buffer=1), tensor("b", [3], buffer=2), tensor("c", [1, 4, 4, 3]),
     tensor("v", [3], buffer=2), tensor("d", [1, 4, 4, 3]), tensor("p", [1, 2, 2, 3]), tensor("s", [2], "INT32", 3),
     tensor("f", [1, 12]), tensor("w2", [2, 12], buffer=4), tensor("l", [1, 2]), tensor("y", [1, 2])], [0], [11],
    [operator(0, [0, 1, 2], [3], "Conv2DOptions", padding="SAME", stride_w=1, stride_h=1, fused_activation_function="RELU"),
     operator(1, [3, 4], [5], "AddOptions"),
     operator(2, [5], [6], "Pool2DOptions", padding="VALID", stride_w=2, stride_h=2, filter_width=2, filter_height=2),
     operator(3, [6, 7], [8], "ReshapeOptions", new_shape=[1, 12]),
     operator(4, [8, 9, -1], [10], "FullyConnectedOptions"), operator(5, [10], [11], "SoftmaxOptions", beta=1.0)])],
    [floats(*[.1] * 54), floats(1, 2, 3), ints(1, 12), floats(*[.2] * 24)])

write("quantized", [QUANTIZE, CONV, DEQUANTIZE], [graph(
    [tensor("x", [1, 2, 2, 1]), tensor("q", [1, 2, 2, 1], "INT8", quantization=dict(scale=[.5], zero_point=[1])),
     tensor("w", [2, 1, 1, 1], "INT8", 1, quantization=dict(scale=[.5, .25], zero_point=[0, 0], quantized_dimension=0)),
     tensor("b", [2], "INT32", 2, quantization=dict(scale=[.25, .125], zero_point=[0, 0])),
     tensor("c", [1, 2, 2, 2], "INT8", quantization=dict(scale=[.5], zero_point=[-3])), tensor("y", [1, 2, 2, 2])], [0], [5],
    [operator(0, [0], [1], "QuantizeOptions"),
     operator(1, [1, 2, 3], [4], "Conv2DOptions", padding="VALID", stride_w=1, stride_h=1),
     operator(2, [4], [5], "DequantizeOptions")])], [[3, 250], ints(1, 2)])

state = [tensor("i", [], "INT32"), tensor("v", [2])]
write("while", [WHILE, LESS, ADD, IF, ABS, NEG], [
    graph([tensor("x", [2]), tensor("zero", [], "INT32", 1), tensor("n", [], "INT32"), tensor("y", [2])], [0], [3],
          [operator(0, [1, 0], [2, 3], "WhileOptions", cond_subgraph_index=1, body_subgraph_index=2)]),
    graph(state + [tensor("limit", [], "INT32", 2), tensor("go", [], "BOOL")], [0, 1], [3],
          [operator(1, [0, 2], [3], "LessOptions")], "cond"),
    graph(state + [tensor("one", [], "INT32", 3), tensor("next", [], "INT32"), tensor("even", [], "BOOL"), tensor("w", [2])],
          [0, 1], [3, 5],
          [operator(2, [0, 2], [3], "AddOptions"), operator(1, [0, 2], [4], "LessOptions"),
           operator(3, [4, 1], [5], "IfOptions", then_subgraph_index=3, else_subgraph_index=4)], "body"),
    graph([tensor("a", [2]), tensor("b", [2])], [0], [1], [operator(4, [0], [1], "AbsOptions")], "then"),
    graph([tensor("a", [2]), tensor("b", [2])], [0], [1], [operator(5, [0], [1], "NegOptions")], "else")],
    [ints(0), ints(3), ints(1)])

write("sparse", [DENSIFY, DENSE, SLICE], [graph(
    [tensor("x", [2, 3]), tensor("s", [2, 3], buffer=1, sparsity=dict(traversal_order=[0, 1], dim_metadata=[
        dict(format="DENSE", dense_size=2),
        dict(format="SPARSE_CSR", array_segments_type="Int32Vector", array_segments=dict(values=[0, 1, 3]),
             array_indices_type="Uint8Vector", array_indices=dict(values=[1, 0, 2]))])),
     tensor("w", [2, 3]), tensor("h", [2, 2]), tensor("begin", [2], "INT32", 2), tensor("end", [2], "INT32", 3),
     tensor("step", [2], "INT32", 4), tensor("y", [2])], [0], [7],
    [operator(0, [1], [2], "DensifyOptions"), operator(1, [0, 2, -1], [3], "FullyConnectedOptions"),
     operator(2, [3, 4, 5, 6], [7], "StridedSliceOptions", begin_mask=1, end_mask=1, shrink_axis_mask=2)])],
    [floats(5, 6, 7), ints(0, 0), ints(2, 1), ints(1, 1)])

write("refused", [CUSTOM], [graph([tensor("x", [2]), tensor("y", [2])], [0], [1], [operator(0, [0], [1])])], [])
