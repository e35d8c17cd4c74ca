# Elementwise operators: fused activations, integers, codes, broadcasts, ties and signs. Run by make_tflite_examples.py.
for op, kind in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions"), ("DIV", "DivOptions")):
    for act in ("RELU", "RELU_N1_TO_1", "RELU6"):
        one("%s %s" % (op, act), op, [F(2, 3, 4), F(3, 1, low=0.5, high=3)], ["float32"], kind, fusedActivationFunction=getattr(ACT, act))
    one("%s rank 5" % op, op, [F(2, 1, 3, 1, 2), F(1, 4, 1, 2, 1, low=0.5)], ["float32"], kind)
    one("%s int32 RELU6" % op, op, [T("int32", [3, 4], low=-20, high=20), T("int32", [4], low=1, high=5)], ["int32"], kind,
        fusedActivationFunction=ACT.RELU6)
    if op != "DIV":
        one("%s int8 RELU_N1_TO_1" % op, op, [Q8(2, 5), Q8(5, scale=0.03, zero=-7)], [Q8(scale=0.06, zero=5)], kind, quanta=1,
            fusedActivationFunction=ACT.RELU_N1_TO_1)
        one("%s int16" % op, op, [Q16(2, 5, scale=2.0 ** -11), Q16(2, 5, scale=2.0 ** -13)], [Q16(scale=2.0 ** -11)], kind, quanta=1)
    one("%s uint8" % op, op, [Q8(2, 5, type="uint8", zero=128), Q8(2, 5, type="uint8", scale=0.04, zero=0 if op == "DIV" else 100, values=[range(1, 11)])],
        [Q8(type="uint8", scale=0.1, zero=120)], kind, quanta=1)
one("ADD int64", "ADD", [T("int64", [3]), T("int64", [2, 3])], ["int64"], "AddOptions")
one("ADD int16 plain", "ADD", [T("int16", [3]), T("int16", [3])], ["int16"], "AddOptions")
one("MUL int64", "MUL", [T("int64", [3]), T("int64", [2, 3])], ["int64"], "MulOptions")
one("MUL uint32", "MUL", [T("uint32", [3], low=0), T("uint32", [3], low=0)], ["uint32"], "MulOptions")
one("SUB int64", "SUB", [T("int64", [3]), T("int64", [2, 3])], ["int64"], "SubOptions")
one("ADD empty", "ADD", [F(0, 3), F(1, 3)], ["float32"], "AddOptions")
for t in ("float32", "int32", "int16", "int8"):
    one("FLOOR_DIV %s" % t, "FLOOR_DIV", [T(t, [8], values=[7, -7, 7, -7, 6, -6, 0, 1]), T(t, [8], values=[2, 2, -2, -2, 3, 3, 5, -5])], [t], version=3)
# Quotients that are whole numbers once they are rounded to float32.
one("FLOOR_DIV rounded once", "FLOOR_DIV", [F(6, values=[1, 2, -1, 3, 0.7, 1e8]), F(6, values=[0.1, 0.1, 0.1, 0.3, 0.1, 3])], ["float32"])
one("FLOOR_DIV constant", "FLOOR_DIV", [F(2, 3, values=[1, 2, -1, 3, 0.7, 0]), C([0.1, 0.3, -0.1], "float32")], ["float32"])
one("FLOOR_DIV powers of two", "FLOOR_DIV", [F(2, 3, values=[1, 2, -1, 3, -0.7, 9]), C([0.5, -4, 8], "float32")], ["float32"])
one("FLOOR_MOD positive constant", "FLOOR_MOD", [F(6, values=[7, -7, -0.5, 0, 1e8, -6]), C(3, "float32")], ["float32"])
one("FLOOR_MOD large", "FLOOR_MOD", [F(4, values=[1e8, -1e8, 1, -1]), F(4, values=[3, 3, 0.1, 0.1])], ["float32"])
for t in ("float32", "int32", "int64", "int16", "int8"):
    one("FLOOR_MOD %s" % t, "FLOOR_MOD", [T(t, [8], values=[7, -7, 7, -7, 6, -6, 0, 1]), T(t, [8], values=[2, 2, -2, -2, 3, 3, 5, -5])], [t], version=2)
for t in ("float32", "int32"):
    one("POW %s" % t, "POW", [T(t, [4], values=[2, 3, 1, 4]), T(t, [4], values=[3, 2, 5, 0])], [t], "PowOptions")
    one("SQUARED_DIFFERENCE %s" % t, "SQUARED_DIFFERENCE", [T(t, [2, 4]), T(t, [4])], [t])
for op in ("MAXIMUM", "MINIMUM"):
    for t in ("float32", "int32", "int64", "uint8", "int16"):
        one("%s %s" % (op, t), op, [T(t, [2, 1, 4], low=0), T(t, [3, 1], low=0)], [t], "MaximumMinimumOptions", version=3)
    one("%s int8 codes" % op, op, [Q8(2, 4), Q8(4)], [Q8()], "MaximumMinimumOptions", version=2)
    one("%s rank 5" % op, op, [F(2, 1, 3, 1, 2), F(1, 4, 1, 2, 1)], ["float32"], "MaximumMinimumOptions")
one("SQUARED_DIFFERENCE int8", "SQUARED_DIFFERENCE", [Q8(2, 5), Q8(2, 5)], [Q8(scale=0.5, zero=-128)], quanta=1, version=2)
for op in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
    one("%s float32" % op, op, [F(2, 3, values=[1, 2, 3, 4, 5, 6]), F(3, values=[4, 2, 3])], ["bool"])
    for t in ("int32", "int64"):
        one("%s %s" % (op, t), op, [T(t, [2, 3], low=0, high=3), T(t, [3], low=0, high=3)], ["bool"])
    one("%s int8" % op, op, [Q8(2, 5), Q8(5)], ["bool"], version=2)
    one("%s uint8 other scales" % op, op, [Q8(2, 50, type="uint8", zero=100), Q8(50, type="uint8", scale=0.031, zero=120)], ["bool"])
one("EQUAL bool", "EQUAL", [T("bool", [2, 3]), T("bool", [3])], ["bool"], version=2)
one("NOT_EQUAL bool", "NOT_EQUAL", [T("bool", [2, 3]), T("bool", [3])], ["bool"], version=2)
one("EQUAL int16", "EQUAL", [T("int16", [3], values=[1, 2, 3]), T("int16", [3], values=[1, 0, 3])], ["bool"], version=4)
one("GREATER rank 5", "GREATER", [F(2, 1, 3, 1, 2), F(1, 4, 1, 2, 1)], ["bool"])
for op in ("LOGICAL_AND", "LOGICAL_OR"):
    one(op, op, [T("bool", [2, 3]), T("bool", [3])], ["bool"])
one("LOGICAL_NOT", "LOGICAL_NOT", [T("bool", [5])], ["bool"])
halves = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, -0.2, 0.0, 2.4999]
for op in ("ROUND", "FLOOR", "CEIL", "SIGN"):
    one(op, op, [F(10, values=halves)], ["float32"], version=2 if op == "SIGN" else 1)
one("SIGN int32", "SIGN", [T("int32", [5], values=[-3, 0, 5, 1, -1])], ["int32"], version=2)
for op in ("ABS", "NEG", "SIN", "COS", "EXP", "SQUARE", "ELU", "HARD_SWISH", "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1"):
    one(op, op, [F(2, 3, low=-4, high=4)], ["float32"])
for op in ("LOG", "SQRT", "RSQRT"):
    one(op, op, [F(2, 3, low=0.1, high=4)], ["float32"])
one("RELU_0_TO_1", "RELU_0_TO_1", [F(9)], ["float32"])
one("ABS int32", "ABS", [T("int32", [5])], ["int32"])
one("NEG int64", "NEG", [T("int64", [5])], ["int64"])
one("NEG int32", "NEG", [T("int32", [5])], ["int32"])
one("ABS int8", "ABS", [Q8(20)], [Q8(scale=0.06, zero=-20)], "AbsOptions", version=2, quanta=1)
one("ABS int16", "ABS", [Q16(20)], [Q16(scale=2.0 ** -11)], "AbsOptions", version=2, quanta=1)
one("RSQRT int8", "RSQRT", [Q8(20, zero=-128, values=range(-100, -60, 2))], [Q8(scale=0.02, zero=-120)], version=2, quanta=1)
one("RSQRT int16", "RSQRT", [Q16(5, values=[900, 1000, 2000, 8000, 30000])], [Q16(scale=2.0 ** -11)], version=3, quanta=2)
one("EXP int8", "EXP", [Q8(30, scale=0.02)], [Q8(scale=0.05, zero=-128)], "ExpOptions", version=2, quanta=1)
one("EXP int16", "EXP", [Q16(30, scale=2.0 ** -14)], [Q16(scale=2.0 ** -12)], "ExpOptions", version=2, quanta=2)
one("LOG int8", "LOG", [Q8(20, zero=-128, values=range(-100, 100, 10))], [Q8(scale=0.03, zero=0)], version=2, quanta=1)
one("LOGISTIC int8", "LOGISTIC", [Q8(40)], [Q8(scale=1 / 256, zero=-128)], version=2, quanta=1)
one("LOGISTIC uint8", "LOGISTIC", [Q8(40, type="uint8", zero=128)], [Q8(type="uint8", scale=1 / 256, zero=0)], quanta=1)
one("LOGISTIC int16", "LOGISTIC", [Q16(40)], [Q16(scale=2.0 ** -15)], version=3, quanta=12)
one("TANH int8", "TANH", [Q8(40)], [Q8(scale=1 / 128, zero=0)], version=2, quanta=1)
one("TANH int16", "TANH", [Q16(40)], [Q16(scale=2.0 ** -15)], version=3, quanta=12)
one("HARD_SWISH int8", "HARD_SWISH", [Q8(40)], [Q8(scale=0.04, zero=-90)], version=1, quanta=2)
one("RELU int8", "RELU", [Q8(40)], [Q8(scale=0.03, zero=-128)], version=2, quanta=1)
one("RELU6 int8", "RELU6", [Q8(40, scale=0.1)], [Q8(scale=6 / 255, zero=-128)], version=2, quanta=1)
one("RELU_N1_TO_1 int8", "RELU_N1_TO_1", [Q8(40)], [Q8(scale=2 / 255, zero=0)], quanta=1)
one("RELU int16", "RELU", [Q16(40)], [Q16(scale=2.0 ** -12)], version=3, quanta=1)
one("LEAKY_RELU", "LEAKY_RELU", [F(10)], ["float32"], "LeakyReluOptions", alpha=0.3)
one("LEAKY_RELU int8", "LEAKY_RELU", [Q8(40)], [Q8(scale=0.04, zero=-20)], "LeakyReluOptions", version=2, alpha=-0.2, quanta=1)
one("LEAKY_RELU int16", "LEAKY_RELU", [Q16(40)], [Q16(scale=2.0 ** -12)], "LeakyReluOptions", version=2, alpha=0.1, quanta=1)
one("PRELU", "PRELU", [F(2, 3, 4, 5), C(np.linspace(-1, 1, 5).reshape(1, 1, 5), "float32")], ["float32"])
one("PRELU int8", "PRELU", [Q8(1, 3, 4, 5), Q8(1, 1, 5, scale=0.01, zero=0, data=np.array([[[-50, 20, 0, 100, 7]]], np.int8))],
    [Q8(scale=0.05, zero=-30)], quanta=1)
for approximate in (False, True):
    one("GELU %s" % approximate, "GELU", [F(20, low=-4, high=4)], ["float32"], "GeluOptions", version=2, approximate=approximate)
    one("GELU int8 %s" % approximate, "GELU", [Q8(40)], [Q8(scale=0.04, zero=-100)], "GeluOptions", version=2, approximate=approximate, quanta=1)
one("SOFTMAX beta", "SOFTMAX", [F(2, 3, 4)], ["float32"], "SoftmaxOptions", beta=0.5)
one("SOFTMAX rank 1", "SOFTMAX", [F(4)], ["float32"], "SoftmaxOptions", beta=1.0)
one("SOFTMAX int8", "SOFTMAX", [Q8(3, 8)], [Q8(scale=1 / 256, zero=-128)], "SoftmaxOptions", version=2, beta=1.0, quanta=1)
one("SOFTMAX int8 to int16", "SOFTMAX", [Q8(3, 8)], [T("int16", scale=1 / 65536, zero=-32768)], "SoftmaxOptions", version=2, beta=1.0, quanta=60)
one("SOFTMAX int16", "SOFTMAX", [Q16(3, 8)], [Q16(scale=2.0 ** -15)], "SoftmaxOptions", version=3, beta=1.0, quanta=8)
one("LOG_SOFTMAX", "LOG_SOFTMAX", [F(2, 3, 4)], ["float32"])
one("LOG_SOFTMAX int8", "LOG_SOFTMAX", [Q8(3, 8)], [Q8(scale=16 / 256, zero=127)], version=2, quanta=1)
one("ATAN2", "ATAN2", [F(9, values=[1, -1, 0, 0, 1, -1, 0, 2, -3]), F(9, values=[1, -1, 1, -1, 0, 0, 0, -2, 3])], ["float32"])
one("ADD_N int32", "ADD_N", [T("int32", [2, 3])] * 3, ["int32"], "AddNOptions")
one("ADD_N", "ADD_N", [F(2, 3)] * 3, ["float32"], "AddNOptions")
for t in ("int8", "int16", "int32", "uint8", "uint16", "uint32"):
    one("BITWISE_XOR %s" % t, "BITWISE_XOR", [T(t, [2, 3], low=0 if t[0] == "u" else -9, high=99), T(t, [3], low=0, high=99)], [t])
    one("RIGHT_SHIFT %s" % t, "RIGHT_SHIFT", [T(t, [6], values=[100, 101, 3, 90, 7, 55] if t[0] == "u" else [100, -101, -1, 90, -7, 55]),
                                              T(t, [6], values=[1, 2, 3, 0, 1, 7])], [t])
    one("RIGHT_SHIFT %s constant" % t, "RIGHT_SHIFT", [T(t, [6], values=[100, 101, 3, 90, 7, 55] if t[0] == "u" else [100, -101, -1, 90, -7, -128]),
                                                       C([1, 2, 3, 0, 1, 7], t)], [t])
one("RIGHT_SHIFT int32 sign", "RIGHT_SHIFT", [T("int32", [4], values=[-(1 << 31), (1 << 31) - 1, 5, -5]), C(31)], ["int32"])
one("RIGHT_SHIFT int32 smallest", "RIGHT_SHIFT", [T("int32", [4], values=[-(1 << 31), 1 - (1 << 31), 5, -5]), C([30, 1, 2, 2])], ["int32"])
one("CAST float to int", "CAST", [F(8, values=[-2.7, -1.5, -0.5, 0.5, 1.5, 2.7, 100.9, 0])], ["int32"], "CastOptions", inDataType=S.TensorType.FLOAT32, outDataType=S.TensorType.INT32)
one("CAST int to bool", "CAST", [T("int32", [4], values=[0, 1, -2, 256])], ["bool"], "CastOptions", outDataType=S.TensorType.BOOL, inDataType=S.TensorType.INT32)
one("CAST float to bool", "CAST", [F(4, values=[0, 0.5, -0.2, 3])], ["bool"], "CastOptions", outDataType=S.TensorType.BOOL)
one("CAST bool to float", "CAST", [T("bool", [6])], ["float32"], "CastOptions", inDataType=S.TensorType.BOOL)
one("CAST int64 to int8", "CAST", [T("int64", [4], values=[1, -2, 127, 300])], ["int8"], "CastOptions", version=2)
one("CAST float to half", "CAST", [F(4)], ["float16"], "CastOptions", version=6)
one("CAST float to uint8", "CAST", [F(4, values=[1.7, 0, 200.2, 254.9])], ["uint8"], "CastOptions")
one("QUANTIZE int8", "QUANTIZE", [F(12, values=[-7, -3.225, -0.125, -0.025, 0, 0.025, 0.075, 0.125, 0.175, 3, 6.2, 9])], [Q8()], quanta=1)
one("QUANTIZE uint8", "QUANTIZE", [F(40, low=-9, high=9)], [Q8(type="uint8", zero=128)], quanta=0)
one("QUANTIZE int16", "QUANTIZE", [F(40, low=-9, high=9)], [Q16()], version=3, quanta=0)
one("QUANTIZE int8 to uint8", "QUANTIZE", [Q8(40)], [Q8(type="uint8", scale=0.05, zero=131)], version=2, quanta=0)
one("QUANTIZE int8 to int8", "QUANTIZE", [Q8(40)], [Q8(scale=0.07, zero=-5)], version=2, quanta=1)
one("QUANTIZE int16 to int8", "QUANTIZE", [Q16(40)], [Q8(scale=0.07, zero=-5)], version=3, quanta=1)
one("QUANTIZE int16 to int32", "QUANTIZE", [Q16(40)], [T("int32", scale=2.0 ** -14)], version=3, quanta=1)
one("QUANTIZE per channel", "QUANTIZE", [F(4, 3)], [T("int8", scale=[0.02, 0.03, 0.05], zero=0, axis=1)], version=2, quanta=0)
one("DEQUANTIZE int8", "DEQUANTIZE", [Q8(10)], ["float32"], version=2)
one("DEQUANTIZE int16", "DEQUANTIZE", [Q16(10)], ["float32"], version=3)
one("DEQUANTIZE half", "DEQUANTIZE", [T("float16", [10])], ["float32"], version=3)
one("DEQUANTIZE per channel", "DEQUANTIZE", [T("int8", [4, 3], scale=[0.02, 0.03, 0.05], zero=0, axis=1)], ["float32"], version=5)
one("FAKE_QUANT", "FAKE_QUANT", [F(30, low=-3, high=3)], ["float32"], "FakeQuantOptions", version=2, min=-1.3, max=2.1, numBits=5)
for t in ("int32", "int16", "uint32"):
    one("BITCAST %s" % t, "BITCAST", [T(t, [2, 4], low=0)], [{"int32": "uint32", "int16": "uint16", "uint32": "int32"}[t]], "BitcastOptions")
