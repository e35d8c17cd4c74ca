#!/usr/bin/env python3
"""Makes tflite/examples.json: small TensorFlow Lite models, one for each case of an operator, with inputs and outputs.

    pip install ai-edge-litert numpy; python make_tflite_examples.py [tflite/examples.json]

Models are written with the object API of LiteRT's schema; inputs are random (seeded by the example's name); the outputs are
those of LiteRT 2.3 (ai-edge-litert, its own kernels without delegates). Where LiteRT has no kernel for an operator of the schema (most of
STABLEHLO_*), the outputs are NumPy's, by the operator's definition in the StableHLO specification: `numpy=`.
An example: {name, operator, model (base64), inputs and outputs [{type, dims, data (base64)}], quanta, tolerance}.
"""
import base64
import json
import pathlib
import sys
import zlib

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as S
from ai_edge_litert.interpreter import Interpreter, OpResolverType

TYPES = {"float32": S.TensorType.FLOAT32, "float16": S.TensorType.FLOAT16, "float64": S.TensorType.FLOAT64, "int8": S.TensorType.INT8,
         "uint8": S.TensorType.UINT8, "int16": S.TensorType.INT16, "uint16": S.TensorType.UINT16, "int32": S.TensorType.INT32,
         "uint32": S.TensorType.UINT32, "int64": S.TensorType.INT64, "uint64": S.TensorType.UINT64, "bool": S.TensorType.BOOL,
         "resource": S.TensorType.RESOURCE, "complex64": S.TensorType.COMPLEX64, "int4": S.TensorType.INT4}
ACT = S.ActivationFunctionType
EXAMPLES = []


class T:
    """A tensor: type, shape; an array as a constant; scale and zero point (lists: per axis)."""

    def __init__(self, type="float32", shape=(), data=None, scale=None, zero=0, axis=0, variable=False, low=None, high=None, free=False,
                 values=None):
        if data is not None:
            data = np.asarray(data)
            type, shape = (type if type == "int4" else data.dtype.name), data.shape
        self.type, self.shape, self.data, self.scale, self.zero, self.axis = type, list(shape), data, scale, zero, axis
        self.variable, self.low, self.high, self.free, self.values = variable, low, high, free, values


def C(values, type="int32", **more):
    return T(data=np.array(values, dtype=type), **more)


def F(*shape, **more):
    return T("float32", shape, **more)


def Q8(*shape, scale=0.05, zero=3, type="int8", **more):
    return T(type, shape, scale=scale, zero=zero, **more)


def Q16(*shape, scale=2.0 ** -12, **more):
    return T("int16", shape, scale=scale, zero=0, **more)


def options(name, fields):
    made = getattr(S, name + "T")()
    for key, value in fields.items():
        assert hasattr(made, key), (name, key)
        setattr(made, key, value)
    return made


class Graph:
    def __init__(self, model, name):
        self.model, self.g = model, S.SubGraphT()
        self.g.tensors, self.g.operators, self.g.inputs, self.g.outputs, self.g.name = [], [], [], [], name
        model.m.subgraphs.append(self.g)
        self.specs = []

    def add(self, t, name=None):
        x = S.TensorT()
        x.name, x.type, x.shape, x.buffer, x.isVariable = name or "t%d" % len(self.g.tensors), TYPES[t.type], t.shape, 0, t.variable
        x.hasRank = True
        if t.free:
            x.shapeSignature = [-1] * len(t.shape) if t.free is True else list(t.free)
        if t.data is not None:
            buffer = S.BufferT()
            raw = t.data.tobytes()
            if t.type == "int4":
                flat = t.data.astype(np.int8).ravel() & 15
                flat = np.append(flat, np.zeros(len(flat) % 2, np.int8))
                raw = (flat[0::2] | flat[1::2] << 4).astype(np.uint8).tobytes()
            buffer.data = np.frombuffer(raw, np.uint8)
            self.model.m.buffers.append(buffer)
            x.buffer = len(self.model.m.buffers) - 1
        if t.scale is not None:
            q = S.QuantizationParametersT()
            scales = t.scale if isinstance(t.scale, list) else [t.scale]
            q.scale, q.zeroPoint, q.quantizedDimension = scales, [t.zero] * len(scales), t.axis
            x.quantization = q
        self.g.tensors.append(x)
        self.specs.append(t)
        return len(self.g.tensors) - 1

    def input(self, t, name=None):
        self.g.inputs.append(self.add(t, name or "x%d" % len(self.g.inputs)))
        return self.g.inputs[-1]

    def output(self, index):
        self.g.outputs.append(index)
        return index

    def op(self, code, inputs, outputs, kind=None, kind2=None, custom=None, version=1, **fields):
        """Inputs and outputs are tensor numbers or T (added). Returns the outputs."""
        inputs = [-1 if t is None else t if isinstance(t, int) else self.add(t) for t in inputs]
        outputs = [t if isinstance(t, int) else self.add(t) for t in outputs]
        o = S.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs = self.model.code(code, version), inputs, outputs
        if kind:
            o.builtinOptionsType, o.builtinOptions = getattr(S.BuiltinOptions, kind), options(kind, fields)
        if kind2:
            o.builtinOptions2Type, o.builtinOptions2 = getattr(S.BuiltinOptions2, kind2), options(kind2, fields)
        self.g.operators.append(o)
        return outputs


class Model:
    def __init__(self):
        self.m = S.ModelT()
        self.m.version, self.m.description, self.m.subgraphs, self.m.operatorCodes = 3, "example", [], []
        self.m.buffers = [S.BufferT()]
        self.codes = {}

    def graph(self, name="main"):
        return Graph(self, name)

    def code(self, name, version):
        if (name, version) not in self.codes:
            c = S.OperatorCodeT()
            if hasattr(S.BuiltinOperator, name):
                c.builtinCode = getattr(S.BuiltinOperator, name)
            else:
                c.builtinCode, c.customCode = S.BuiltinOperator.CUSTOM, name
            c.deprecatedBuiltinCode, c.version = min(c.builtinCode, 127), version
            self.m.operatorCodes.append(c)
            self.codes[name, version] = len(self.m.operatorCodes) - 1
        return self.codes[name, version]

    def bytes(self):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.m.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def draw(rng, t):
    if t.values is not None:
        return np.array(t.values, dtype=t.type).reshape(t.shape)
    if t.type.startswith("float"):
        low, high = (-2.0 if t.low is None else t.low), (2.0 if t.high is None else t.high)
        return rng.uniform(low, high, t.shape).astype(t.type)
    if t.type == "bool":
        return rng.integers(0, 2, t.shape).astype(bool)
    if t.scale is not None:
        info = np.iinfo(t.type)
        return rng.integers(max(info.min, -32767), info.max + 1, t.shape).astype(t.type)
    return rng.integers(-9 if t.low is None else t.low, 10 if t.high is None else t.high + 1, t.shape).astype(t.type)


def run(data, inputs):
    try:
        return run_with(OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, data, inputs)
    except ValueError as error:
        if "Didn't find op" not in str(error):
            raise
        return run_with(OpResolverType.BUILTIN_REF, data, inputs)


def run_with(kernels, data, inputs):
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=kernels, num_threads=1)
    details = interpreter.get_input_details()
    for d, x in zip(details, inputs):
        if list(d["shape"]) != list(x.shape):
            interpreter.resize_tensor_input(d["index"], x.shape)
    interpreter.allocate_tensors()
    for d, x in zip(details, inputs):
        interpreter.set_tensor(d["index"], x)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]


def packed(x):
    return dict(type=x.dtype.name, dims=list(x.shape), data=base64.b64encode(x.tobytes()).decode())


FAILED = []


def finish(name, operator, model, graph, numpy=None, quanta=None, tolerance=None, fill=True, sample=None):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = [draw(rng, graph.specs[i]) for i in graph.g.inputs]
    if sample is not None:  # of another size than the file says
        inputs = [draw(rng, t) for t in sample]
    try:
        outputs = numpy(*inputs) if numpy else run(model.bytes(), inputs)
    except Exception as error:
        FAILED.append((name, str(error).splitlines()[0][:200]))
        return
    if not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    if fill:  # the shapes that files have
        for index, value in zip(graph.g.outputs, outputs):
            if not graph.specs[index].free:
                graph.g.tensors[index].shape = list(value.shape)
            else:
                graph.g.tensors[index].shape, graph.g.tensors[index].shapeSignature = [1] * value.ndim, [-1] * value.ndim
    example = dict(name=name, operator=operator, model=base64.b64encode(model.bytes()).decode(), inputs=[packed(x) for x in inputs],
                   outputs=[packed(np.asarray(x)) for x in outputs])
    if quanta is not None:
        example["quanta"] = quanta
    if tolerance is not None:
        example["tolerance"] = tolerance
    EXAMPLES.append(example)


def one(name, code, ins, outs, kind=None, kind2=None, version=1, numpy=None, quanta=None, tolerance=None, sample=None, **fields):
    """A model of one operator: tensors without data are inputs; outputs get their shapes from what the runtime makes."""
    model = Model()
    graph = model.graph()
    given = [None if t is None else graph.input(t) if t.data is None and not t.variable else graph.add(t) for t in ins]
    made = graph.op(code, given, [t if isinstance(t, T) else T(t) for t in outs], kind, kind2, version=version, **fields)
    for index in made:
        graph.output(index)
    finish(name, code, model, graph, numpy, quanta, tolerance, sample=sample)


EXAMPLE_FILES = pathlib.Path(__file__).resolve().parent / "tflite_examples"


def main():
    for file in sorted(EXAMPLE_FILES.glob("*.py")):
        exec(compile(file.read_text(), str(file), "exec"), globals())
    for name, error in FAILED:
        print("failed:", name, error, file=sys.stderr)
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "tflite/examples.json"
    names = [example["name"] for example in EXAMPLES]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    target.write_text("[\n" + ",\n".join(json.dumps(example) for example in EXAMPLES) + "\n]\n")
    print(len(EXAMPLES), "examples")


if __name__ == "__main__":
    main()
