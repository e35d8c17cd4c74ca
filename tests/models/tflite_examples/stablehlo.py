# StableHLO's operators. LiteRT has kernels for few of them; the others are NumPy's. Run by make_tflite_examples.py.
def np_one(name, code, ins, outs, kind2=None, numpy=None, **fields):
    one(name, code, ins, outs, kind2=kind2, numpy=numpy, **fields)


np.seterr(all="ignore")
A, B = F(2, 3), F(2, 3)
positive = F(2, 3, low=0.1, high=3)
for code, function, x in (("ABS", np.abs, A), ("COSINE", np.cos, A), ("EXPONENTIAL", np.exp, A), ("FLOOR", np.floor, A), ("LOG", np.log, positive),
                          ("LOGISTIC", lambda x: 1 / (1 + np.exp(-x)), A), ("NEGATE", np.negative, A), ("TANH", np.tanh, A),
                          ("RSQRT", lambda x: 1 / np.sqrt(x), positive), ("CBRT", np.cbrt, A)):
    np_one("STABLEHLO_" + code, "STABLEHLO_" + code, [x], ["float32"], numpy=function)
np_one("STABLEHLO_NEGATE int32", "STABLEHLO_NEGATE", [T("int32", [4])], ["int32"], numpy=np.negative)
for code in ("ADD", "MULTIPLY", "MAXIMUM", "MINIMUM"):
    one("STABLEHLO_" + code, "STABLEHLO_" + code, [A, B], ["float32"])
    one("STABLEHLO_%s int32" % code, "STABLEHLO_" + code, [T("int32", [4]), T("int32", [4])], ["int32"])
for code, function in (("DIVIDE", np.divide), ("SUBTRACT", np.subtract), ("REMAINDER", np.fmod)):
    np_one("STABLEHLO_" + code, "STABLEHLO_" + code, [A, positive], ["float32"], numpy=function)
np_one("STABLEHLO_POWER", "STABLEHLO_POWER", [positive, A], ["float32"], numpy=np.power)
signs = [T("int32", [6], values=[7, -7, 7, -7, 6, -5]), T("int32", [6], values=[2, 2, -2, -2, 3, 5])]
np_one("STABLEHLO_REMAINDER int32", "STABLEHLO_REMAINDER", signs, ["int32"], numpy=lambda a, b: np.fmod(a, b))
np_one("STABLEHLO_DIVIDE int32", "STABLEHLO_DIVIDE", signs, ["int32"], numpy=lambda a, b: np.trunc(a / b).astype("int32"))
for code, function in (("AND", np.bitwise_and), ("OR", np.bitwise_or)):
    np_one("STABLEHLO_%s int32" % code, "STABLEHLO_" + code, [T("int32", [4], low=0), T("int32", [4], low=0)], ["int32"], numpy=function)
    np_one("STABLEHLO_%s bool" % code, "STABLEHLO_" + code, [T("bool", [4]), T("bool", [4])], ["bool"], numpy=function)
for t in ("int8", "int16", "int32"):
    one("STABLEHLO_SHIFT_LEFT %s" % t, "STABLEHLO_SHIFT_LEFT", [T(t, [4], values=[1, -3, 100, 7]), T(t, [4], values=[1, 2, 3, 0])], [t])
np_one("STABLEHLO_CLAMP", "STABLEHLO_CLAMP", [C(-0.5, "float32"), A, C(0.7, "float32")], ["float32"], numpy=lambda x: np.clip(x, np.float32(-0.5), np.float32(0.7)))
for number, function in enumerate((np.equal, np.not_equal, np.greater_equal, np.greater, np.less_equal, np.less)):
    np_one("STABLEHLO_COMPARE %d" % number, "STABLEHLO_COMPARE", [T("int32", [9], low=0, high=2), T("int32", [9], low=0, high=2)], ["bool"],
           "StablehloCompareOptions", numpy=function, comparisonDirection=number)
np_one("STABLEHLO_CONVERT", "STABLEHLO_CONVERT", [A], ["int32"], numpy=lambda x: x.astype("int32"))
np_one("STABLEHLO_SELECT", "STABLEHLO_SELECT", [T("bool", [2, 3]), A, B], ["float32"], numpy=np.where)
np_one("STABLEHLO_SELECT scalar", "STABLEHLO_SELECT", [T("bool", []), T("bool", [3]), T("bool", [3])], ["bool"], numpy=lambda p, a, b: a if p else b)
np_one("STABLEHLO_RESHAPE", "STABLEHLO_RESHAPE", [A], [T("float32")], numpy=lambda x: x.reshape(3, 2))
np_one("STABLEHLO_BROADCAST_IN_DIM", "STABLEHLO_BROADCAST_IN_DIM", [F(3, 1)], ["float32"], "StablehloBroadcastInDimOptions",
       numpy=lambda x: np.broadcast_to(x[None], (2, 3, 4)).copy(), broadcastDimensions=[1, 2])
np_one("STABLEHLO_BROADCAST_IN_DIM scalar", "STABLEHLO_BROADCAST_IN_DIM", [F()], ["float32"], "StablehloBroadcastInDimOptions",
       numpy=lambda x: np.full((2, 3), x), broadcastDimensions=[])
np_one("STABLEHLO_BROADCAST_IN_DIM rows", "STABLEHLO_BROADCAST_IN_DIM", [T("int32", [2])], ["int32"], "StablehloBroadcastInDimOptions",
       numpy=lambda x: np.broadcast_to(x[:, None], (2, 3)).copy(), broadcastDimensions=[0])
np_one("STABLEHLO_CONCATENATE", "STABLEHLO_CONCATENATE", [F(2, 3), F(2, 1)], ["float32"], "StablehloConcatenateOptions",
       numpy=lambda a, b: np.concatenate([a, b], 1), dimension=1)
np_one("STABLEHLO_SLICE", "STABLEHLO_SLICE", [F(4, 6)], ["float32"], "StablehloSliceOptions", numpy=lambda x: x[1:4, 0:6:2].copy(),
       startIndices=[1, 0], limitIndices=[4, 6], strides=[1, 2])
np_one("STABLEHLO_TRANSPOSE", "STABLEHLO_TRANSPOSE", [F(2, 3, 4)], ["float32"], "StablehloTransposeOptions",
       numpy=lambda x: x.transpose(2, 0, 1).copy(), permutation=[2, 0, 1])
model = Model()
graph = model.graph()
x = graph.input(T("int32", [2, 3]))
numbers = graph.op("STABLEHLO_IOTA", [], [T("int32", [2, 3])], kind2="StablehloIotaOptions", iotaDimension=1)
graph.output(graph.op("ADD", [x, numbers[0]], [T("int32", [2, 3])], "AddOptions")[0])
finish("STABLEHLO_IOTA", "STABLEHLO_IOTA", model, graph, numpy=lambda x: x + np.arange(3, dtype="int32"))
np_one("STABLEHLO_DYNAMIC_SLICE", "STABLEHLO_DYNAMIC_SLICE", [F(4, 5), T("int32", [], values=[3]), T("int32", [], values=[-1])], ["float32"],
       "StablehloDynamicSliceOptions", numpy=lambda x, i, j: x[2:4, 0:3].copy(), sliceSizes=[2, 3])


def updated(x, u, i, j):
    y = x.copy()
    y[2:4, 1:3] = u
    return y


np_one("STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_DYNAMIC_UPDATE_SLICE", [F(4, 5), F(2, 2), T("int32", [], values=[3]), T("int32", [], values=[1])],
       ["float32"], numpy=updated)
one("STABLEHLO_PAD", "STABLEHLO_PAD", [F(2, 3), C(0.5, "float32")], ["float32"], kind2="StablehloPadOptions", edgePaddingLow=[1, 2],
    edgePaddingHigh=[0, 1], interiorPadding=[0, 0])
one("STABLEHLO_PAD interior", "STABLEHLO_PAD", [F(2, 3), C(0.5, "float32")], ["float32"], kind2="StablehloPadOptions", edgePaddingLow=[1, -1],
    edgePaddingHigh=[-1, 1], interiorPadding=[2, 1])
one("STABLEHLO_PAD int32 interior", "STABLEHLO_PAD", [T("int32", [2, 3]), C(7)], ["int32"], kind2="StablehloPadOptions", edgePaddingLow=[0, 0],
    edgePaddingHigh=[0, 0], interiorPadding=[0, 1])
for descending in (False, True):
    model = Model()
    main, inner = model.graph(), model.graph("comparator")
    x, y = main.input(F(2, 5)), main.input(T("int32", [2, 5]))
    for index in main.op("STABLEHLO_SORT", [x, y], [F(2, 5), T("int32", [2, 5])], kind2="StablehloSortOptions", dimension=1, isStable=True,
                         comparatorSubgraphIndex=1):
        main.output(index)
    a, b, _, _ = inner.input(F()), inner.input(F()), inner.input(T("int32")), inner.input(T("int32"))
    inner.output(inner.op("STABLEHLO_COMPARE", [a, b], [T("bool")], kind2="StablehloCompareOptions", comparisonDirection=3 if descending else 5)[0])

    def sort(x, y):
        order = np.argsort(-x if descending else x, axis=1, kind="stable")
        return np.take_along_axis(x, order, 1), np.take_along_axis(y, order, 1)

    finish("STABLEHLO_SORT %s" % descending, "STABLEHLO_SORT", model, main, numpy=sort)


def with_body(name, code, ins, out, body, kind2, numpy=None, **fields):
    model = Model()
    main, inner = model.graph(), model.graph("body")
    given = [main.input(t) if t.data is None else main.add(t) for t in ins]
    main.output(main.op(code, given, [T(out)], kind2=kind2, **fields)[0])
    a, b = inner.input(T(out)), inner.input(T(out))
    inner.output(inner.op(body, [a, b], [T(out)], {"ADD": "AddOptions", "MUL": "MulOptions"}.get(body, None))[0] if body else b)
    finish(name, code, model, main, numpy)


with_body("STABLEHLO_REDUCE", "STABLEHLO_REDUCE", [F(2, 3, 4), C(0.0, "float32")], "float32", "STABLEHLO_ADD", "StablehloReduceOptions",
          numpy=lambda x: x.sum((0, 2)), dimensions=[0, 2], bodySubgraphIndex=1)
with_body("STABLEHLO_REDUCE initial", "STABLEHLO_REDUCE", [T("int32", [2, 3]), C(5)], "int32", "STABLEHLO_MAXIMUM", "StablehloReduceOptions",
          numpy=lambda x: np.maximum(x.max(1), 5), dimensions=[1], bodySubgraphIndex=1)
with_body("STABLEHLO_REDUCE bool", "STABLEHLO_REDUCE", [T("bool", [4, 3]), C(True, "bool")], "bool", "STABLEHLO_AND", "StablehloReduceOptions",
          numpy=lambda x: x.all(1), dimensions=[1], bodySubgraphIndex=1)
for body in ("STABLEHLO_ADD", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM", "STABLEHLO_MULTIPLY"):
    with_body("STABLEHLO_REDUCE_WINDOW %s" % body, "STABLEHLO_REDUCE_WINDOW", [F(5, 6), C(0.5, "float32")], "float32", body, "StablehloReduceWindowOptions",
              windowDimensions=[2, 3], windowStrides=[1, 2], baseDilations=[1, 1], windowDilations=[2, 1], padding=[1, 0, 0, 2], bodySubgraphIndex=1)
with_body("STABLEHLO_REDUCE_WINDOW dilated", "STABLEHLO_REDUCE_WINDOW", [T("int32", [4, 3]), C(0)], "int32", "STABLEHLO_ADD", "StablehloReduceWindowOptions",
          windowDimensions=[3, 1], windowStrides=[1, 2], baseDilations=[2, 1], windowDilations=[1, 1], padding=[0, 0, 0, 0], bodySubgraphIndex=1)
for number, label in enumerate(("ADD", "MUL", "MINIMUM", "MAXIMUM"), 1):
    one("REDUCE_WINDOW " + label, "REDUCE_WINDOW", [F(5, 6), C(0.5, "float32"), C([2, 3], "int64"), C([1, 2], "int64"), C([2, 1], "int64")], ["float32"],
        kind2="ReduceWindowOptions", reduceFunction=number)
for number, label in enumerate(("ALL", "ANY"), 5):
    one("REDUCE_WINDOW " + label, "REDUCE_WINDOW", [T("bool", [5, 6]), C(label == "ALL", "bool"), C([2, 3], "int64"), C([1, 2], "int64"), C([2, 1], "int64")],
        ["bool"], kind2="ReduceWindowOptions", reduceFunction=number)
np_one("STABLEHLO_DOT_GENERAL", "STABLEHLO_DOT_GENERAL", [F(2, 3, 4), F(4, 5)], ["float32"], "StablehloDotGeneralOptions",
       numpy=lambda a, b: a @ b, lhsContractingDimensions=[2], rhsContractingDimensions=[0])
np_one("STABLEHLO_DOT_GENERAL batch", "STABLEHLO_DOT_GENERAL", [F(2, 4, 3), F(2, 5, 4)], ["float32"], "StablehloDotGeneralOptions",
       numpy=lambda a, b: np.einsum("bkm,bnk->bmn", a, b), lhsBatchingDimensions=[0], rhsBatchingDimensions=[0], lhsContractingDimensions=[1],
       rhsContractingDimensions=[2])
np_one("STABLEHLO_DOT_GENERAL two axes", "STABLEHLO_DOT_GENERAL", [F(2, 3, 4), F(4, 3, 5)], ["float32"], "StablehloDotGeneralOptions",
       numpy=lambda a, b: np.einsum("mkl,lkn->mn", a, b), lhsContractingDimensions=[1, 2], rhsContractingDimensions=[1, 0])


def convolved(x, w):  # NHWC, HWIO, stride 2, padding 1
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((1, (x.shape[1] - 3) // 2 + 1, (x.shape[2] - 3) // 2 + 1, w.shape[3]), "float32")
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[0, i, j] = np.einsum("hwi,hwio->o", x[0, 2 * i:2 * i + 3, 2 * j:2 * j + 3], w)
    return out


np_one("STABLEHLO_CONVOLUTION", "STABLEHLO_CONVOLUTION", [F(1, 5, 6, 2), F(3, 3, 2, 4)], ["float32"], "StablehloConvolutionOptions", numpy=convolved,
       windowStrides=[2, 2], padding=[1, 1, 1, 1], lhsDilation=[1, 1], rhsDilation=[1, 1], windowReversal=[False, False], inputBatchDimension=0,
       inputFeatureDimension=3, inputSpatialDimensions=[1, 2], kernelInputFeatureDimension=2, kernelOutputFeatureDimension=3,
       kernelSpatialDimensions=[0, 1], outputBatchDimension=0, outputFeatureDimension=3, outputSpatialDimensions=[1, 2], featureGroupCount=1, batchGroupCount=1)
one("STABLEHLO_GATHER rows", "STABLEHLO_GATHER", [F(5, 4), T("int32", [3, 1], low=0, high=4)], [F(3, 4)], kind2="StablehloGatherOptions", offsetDims=[1],
    collapsedSliceDims=[0], startIndexMap=[0], indexVectorDim=1, sliceSizes=[1, 4])
one("STABLEHLO_GATHER windows", "STABLEHLO_GATHER", [F(3, 4, 2), T("int32", [2, 3, 2], low=0, high=2)], [F(2, 3, 2, 2)], kind2="StablehloGatherOptions",
    offsetDims=[2, 3], collapsedSliceDims=[0], startIndexMap=[1, 0], indexVectorDim=2, sliceSizes=[1, 2, 2])
one("STABLEHLO_GATHER held", "STABLEHLO_GATHER", [T("int32", [6, 3]), T("int64", [2, 2], values=[5, 9, -1, 0])], [T("int32", [2, 2, 2])], kind2="StablehloGatherOptions",
    offsetDims=[0, 1], collapsedSliceDims=[], startIndexMap=[0, 1], indexVectorDim=1, sliceSizes=[2, 2])
for body in ("STABLEHLO_ADD", "STABLEHLO_MAXIMUM", "STABLEHLO_MULTIPLY", ""):
    with_body("STABLEHLO_SCATTER rows %s" % body, "STABLEHLO_SCATTER", [F(5, 4), C([[1], [3]]), F(2, 4)], "float32", body, "StablehloScatterOptions",
              indicesAreSorted=False, updateWindowDims=[1], insertedWindowDims=[0], scatterDimsToOperandDims=[0], indexVectorDim=1, uniqueIndices=True,
              updateComputationSubgraphIndex=1)
with_body("STABLEHLO_SCATTER windows", "STABLEHLO_SCATTER", [F(4, 5, 2), C([[0, 1], [2, 3]]), F(2, 2, 2)], "float32", "STABLEHLO_ADD", "StablehloScatterOptions",
          indicesAreSorted=False, updateWindowDims=[1, 2], insertedWindowDims=[0], scatterDimsToOperandDims=[0, 1], indexVectorDim=1,
          uniqueIndices=True, updateComputationSubgraphIndex=1)
for body in ("STABLEHLO_ADD", ""):
    with_body("STABLEHLO_SCATTER beyond %s" % body, "STABLEHLO_SCATTER", [F(4, 3), T("int32", [3, 1], values=[-1, 2, 4]), F(3, 3)], "float32", body,
              "StablehloScatterOptions", indicesAreSorted=False, updateWindowDims=[1], insertedWindowDims=[0], scatterDimsToOperandDims=[0],
              indexVectorDim=1, uniqueIndices=True, updateComputationSubgraphIndex=1)
with_body("STABLEHLO_SCATTER windows beyond", "STABLEHLO_SCATTER", [F(4, 5), C([[0, 4], [3, 3], [-1, 0], [2, 1]]), F(4, 2, 2)], "float32", "STABLEHLO_ADD",
          "StablehloScatterOptions", indicesAreSorted=False, updateWindowDims=[1, 2], insertedWindowDims=[], scatterDimsToOperandDims=[0, 1],
          indexVectorDim=1, uniqueIndices=True, updateComputationSubgraphIndex=1)
for choice in (0, 1, 7):
    model = Model()
    main = model.graph()
    branches = [model.graph("branch%d" % i) for i in range(3)]
    i, x = main.input(T("int32", [], values=[choice])), main.input(F(2, 3))
    main.output(main.op("STABLEHLO_CASE", [i, x], [F(2, 3)], kind2="StablehloCaseOptions", branchSubgraphIndices=[1, 2, 3])[0])
    for graph, op in zip(branches, ("NEG", "EXP", "ABS")):
        graph.output(graph.op(op, [graph.input(F(2, 3))], [F(2, 3)])[0])
    finish("STABLEHLO_CASE %d" % choice, "STABLEHLO_CASE", model, main, numpy=lambda i, x: [np.negative, np.exp, np.abs][min(i, 2)](x))
model = Model()
main, condition, body = model.graph(), model.graph("condition"), model.graph("body")
i, x = main.input(T("int32", [], values=[0])), main.input(F(2, 3))
for index in main.op("STABLEHLO_WHILE", [i, x], [T("int32"), F(2, 3)], kind2="StablehloWhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2):
    main.output(index)
k, _ = condition.input(T("int32")), condition.input(F(2, 3))
condition.output(condition.op("STABLEHLO_COMPARE", [k, C(3)], [T("bool")], kind2="StablehloCompareOptions", comparisonDirection=5)[0])
k, v = body.input(T("int32")), body.input(F(2, 3))
body.output(body.op("STABLEHLO_ADD", [k, C(1)], [T("int32")])[0])
body.output(body.op("STABLEHLO_MULTIPLY", [v, v], [F(2, 3)])[0])
finish("STABLEHLO_WHILE", "STABLEHLO_WHILE", model, main, numpy=lambda i, x: (np.int32(3), x ** 8))
