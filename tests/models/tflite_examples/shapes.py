# Operators that move, choose, cut and reduce elements: masks, negative and empty axes. Run by make_tflite_examples.py.
for op in ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN"):
    for keep in (False, True):
        one("%s keep %s" % (op, keep), op, [F(2, 3, 4, 5), C([1, -2])], ["float32"], "ReducerOptions", keepDims=keep)
    one("%s duplicate axes" % op, op, [F(2, 3, 4), C([1, 1, -2])], ["float32"], "ReducerOptions")
    one("%s no axes" % op, op, [F(2, 3), C(np.zeros(0))], ["float32"], "ReducerOptions")
    one("%s scalar axis" % op, op, [F(2, 3), C(-1)], ["float32"], "ReducerOptions")
    one("%s int32" % op, op, [T("int32", [2, 6], low=-4, high=4), C([1])], ["int32"], "ReducerOptions")
    one("%s int64" % op, op, [T("int64", [2, 6], low=-4, high=4), C([1])], ["int64"], "ReducerOptions")
    one("%s all" % op, op, [F(2, 3, 2), C([0, 1, 2])], ["float32"], "ReducerOptions")
for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
    one("%s int8" % op, op, [Q8(2, 3, 4), C([1])], [Q8(scale=0.05 if "REDUCE" in op else 0.08, zero=3 if "REDUCE" in op else 1)], "ReducerOptions", version=2, quanta=1)
    if op != "SUM":
        one("%s int16" % op, op, [Q16(2, 3, 4), C([1])], [Q16(scale=2.0 ** -12 if "REDUCE" in op else 2.0 ** -10)], "ReducerOptions", version=3, quanta=1)
one("REDUCE_PROD int8", "REDUCE_PROD", [Q8(2, 3, scale=0.02), C([1])], [Q8(scale=0.1, zero=1)], "ReducerOptions", version=2, quanta=1)
one("MEAN uint8 of image", "MEAN", [Q8(1, 4, 4, 3, type="uint8", zero=120), C([1, 2])], [Q8(type="uint8", scale=0.04, zero=110)], "ReducerOptions", keepDims=True, quanta=1)
for op in ("REDUCE_ANY", "REDUCE_ALL"):
    one(op, op, [T("bool", [3, 4]), C([-1])], ["bool"], "ReducerOptions")
for op in ("ARG_MAX", "ARG_MIN"):
    kind = "ArgMaxOptions" if op == "ARG_MAX" else "ArgMinOptions"
    one("%s ties" % op, op, [F(2, 5, values=[3, 1, 3, 1, 2, 1, 5, 5, 0, 0]), C(-1)], ["int64"], kind, outputType=S.TensorType.INT64)
    one("%s axis 0" % op, op, [T("int32", [4, 3]), C([0])], ["int32"], kind, outputType=S.TensorType.INT32)
    one("%s int8" % op, op, [Q8(2, 3, 4), C(1)], ["int32"], kind, version=2, outputType=S.TensorType.INT32)
    one("%s uint8" % op, op, [T("uint8", [3, 4], low=0, high=200), C(1)], ["int32"], kind, outputType=S.TensorType.INT32)
for t in ("float32", "int32", "int64", "int16"):
    one("TOPK_V2 %s" % t, "TOPK_V2", [T(t, [2, 6]), C(3)], [t, "int32"], version=2)
one("TOPK_V2 int8", "TOPK_V2", [Q8(2, 6), C(3)], [Q8(), "int32"], version=2)
one("TOPK_V2 ties", "TOPK_V2", [F(1, 6, values=[1, 3, 3, 2, 3, 1]), C(4)], ["float32", "int32"])
for exclusive in (False, True):
    for reverse in (False, True):
        one("CUMSUM %s %s" % (exclusive, reverse), "CUMSUM", [F(2, 4, 3), C(-2)], ["float32"], "CumsumOptions", exclusive=exclusive, reverse=reverse)
one("CUMSUM int64", "CUMSUM", [T("int64", [2, 4]), C(1)], ["int64"], "CumsumOptions")
one("UNIQUE", "UNIQUE", [T("int32", [7], values=[3, 1, 3, 2, 1, 9, 2])], [T("int32", free=True), "int32"], "UniqueOptions", idxOutType=S.TensorType.INT32)
one("UNIQUE float64 index", "UNIQUE", [F(6, values=[3, 1, 3, 2, 1, 9])], [T("float32", free=True), "int64"], "UniqueOptions", idxOutType=S.TensorType.INT64)
for t in ("float32", "int32", "int64", "float64"):
    one("BUCKETIZE %s" % t, "BUCKETIZE", [T(t, [2, 5], values=[-5, 0, 1, 2, 3, 10, 9, 4, 5, 11])], ["int32"], "BucketizeOptions", boundaries=[0.0, 3.0, 10.0])
one("GATHER batch_dims", "GATHER", [F(2, 3, 4, 5), T("int32", [2, 3, 2], low=0, high=3)], ["float32"], "GatherOptions", version=5, axis=2, batchDims=2)
one("GATHER batch_dims axis behind", "GATHER", [F(2, 3, 4, 5), T("int32", [2, 6], low=0, high=4)], ["float32"], "GatherOptions", version=5, axis=3, batchDims=1)
one("GATHER negative axis", "GATHER", [T("int32", [2, 3, 4]), C([[1, 0]])], ["int32"], "GatherOptions", axis=-1)
one("GATHER int64 index", "GATHER", [Q8(4, 3), T("int64", [2], low=0, high=3)], [Q8()], "GatherOptions", version=2)
one("GATHER bool", "GATHER", [T("bool", [4, 3]), C([1, 2])], ["bool"], "GatherOptions", version=3)
one("GATHER scalar", "GATHER", [F(4, 3), C(2)], ["float32"], "GatherOptions")
one("GATHER int16 index", "GATHER", [F(4, 3), T("int16", [2], low=0, high=3)], ["float32"], "GatherOptions", version=6)
one("GATHER_ND", "GATHER_ND", [F(3, 4, 2), T("int32", [2, 2, 2], low=0, high=2)], ["float32"])
one("GATHER_ND int8", "GATHER_ND", [Q8(3, 4), T("int64", [5, 1], low=0, high=2)], [Q8()], version=2)
one("GATHER_ND bool", "GATHER_ND", [T("bool", [3, 4]), T("int32", [5, 2], low=0, high=2)], ["bool"], version=4)
one("SCATTER_ND duplicates", "SCATTER_ND", [C([[1], [3], [1]]), F(3, 2), C([5, 2])], ["float32"])
one("SCATTER_ND int64", "SCATTER_ND", [C([[1, 0], [3, 1], [1, 0]]), T("int64", [3]), C([5, 2])], ["int64"])
one("SCATTER_ND uint8", "SCATTER_ND", [C([[1], [3]]), T("uint8", [2], low=0, high=100), C([5])], ["uint8"])
one("SCATTER_ND bool", "SCATTER_ND", [C([[1], [3]]), T("bool", [2]), C([5])], ["bool"])
for axis in (-1, 0, 1):
    one("ONE_HOT %d" % axis, "ONE_HOT", [C([[1, -1, 5], [0, 3, 2]]), C(4), C(2.5, "float32"), C(-1.0, "float32")], ["float32"], "OneHotOptions", axis=axis)
one("ONE_HOT int8", "ONE_HOT", [T("int32", [4], low=0, high=3), C(4), C(7, "int8"), C(1, "int8")], ["int8"], "OneHotOptions", axis=-1)
one("ONE_HOT int64", "ONE_HOT", [T("int64", [4], low=0, high=3), C(4), C(7, "int64"), C(1, "int64")], ["int64"], "OneHotOptions", axis=-1)
one("ONE_HOT bool", "ONE_HOT", [T("int32", [4], low=0, high=3), C(4), C(True, "bool"), C(False, "bool")], ["bool"], "OneHotOptions", axis=-1)
one("SPARSE_TO_DENSE", "SPARSE_TO_DENSE", [C([[0, 1], [1, 2]]), C([2, 3]), F(2), C(9.0, "float32")], ["float32"], "SparseToDenseOptions")
one("SPARSE_TO_DENSE scalar value", "SPARSE_TO_DENSE", [C([1, 3]), C([5]), C(7), C(-1)], ["int32"], "SparseToDenseOptions")
one("SEGMENT_SUM", "SEGMENT_SUM", [F(5, 2), C([0, 0, 1, 2, 2])], ["float32"])
one("SEGMENT_SUM int32", "SEGMENT_SUM", [T("int32", [4]), C([0, 1, 1, 2])], ["int32"])
for op in ("SUM", "PROD", "MAX", "MIN"):
    for t in ("float32", "int32"):
        one("UNSORTED_SEGMENT_%s %s" % (op, t), "UNSORTED_SEGMENT_" + op, [T(t, [5, 2]), C([2, 0, -1, 2, 0]), C(4)], [t])
    one("UNSORTED_SEGMENT_%s rank 2" % op, "UNSORTED_SEGMENT_" + op, [F(2, 3, 2), C([[2, 0, 1], [1, 1, 0]]), C(3)], ["float32"])
one("RESHAPE -1", "RESHAPE", [F(2, 3, 4), C([4, -1])], ["float32"], "ReshapeOptions", newShape=[4, -1])
one("RESHAPE empty", "RESHAPE", [F(0, 3), C([3, 0])], ["float32"], "ReshapeOptions", newShape=[3, 0])
one("RESHAPE scalar", "RESHAPE", [F(1, 1), C(np.zeros(0))], ["float32"], "ReshapeOptions", newShape=[])
one("SQUEEZE", "SQUEEZE", [F(1, 3, 1, 2, 1), ], ["float32"], "SqueezeOptions", squeezeDims=[-1, 0])
one("SQUEEZE all", "SQUEEZE", [F(1, 3, 1, 2)], ["float32"], "SqueezeOptions", squeezeDims=[])
one("SQUEEZE int8", "SQUEEZE", [Q8(1, 3)], [Q8()], "SqueezeOptions", squeezeDims=[0])
one("EXPAND_DIMS -1", "EXPAND_DIMS", [F(2, 3), C(-1)], ["float32"])
one("EXPAND_DIMS -2", "EXPAND_DIMS", [Q8(2, 3), C([-2])], [Q8()])
for rank, perm in ((2, [1, 0]), (5, [4, 0, 2, 1, 3]), (6, [5, 4, 3, 2, 1, 0])):
    one("TRANSPOSE rank %d" % rank, "TRANSPOSE", [F(*range(2, 2 + rank)), C(perm)], ["float32"], version=5)
one("TRANSPOSE int16", "TRANSPOSE", [Q16(2, 3, 4), C([2, 0, 1])], [Q16()], version=4)
one("TRANSPOSE bool", "TRANSPOSE", [T("bool", [2, 3]), C([1, 0])], ["bool"])
for t in ("float32", "int32", "int64", "bool"):
    one("TILE %s" % t, "TILE", [T(t, [2, 3]), C([2, 3])], [t])
one("TILE int8", "TILE", [Q8(2, 3), C([2, 1])], [Q8()])
one("TILE zero", "TILE", [F(2, 3), C([0, 1])], ["float32"])
one("BROADCAST_TO", "BROADCAST_TO", [F(3, 1), C([2, 3, 4])], ["float32"], version=2)
one("BROADCAST_TO rank 6", "BROADCAST_TO", [T("int32", [3, 1]), C([2, 1, 2, 1, 3, 4])], ["int32"], version=2)
one("BROADCAST_TO bool int64 shape", "BROADCAST_TO", [T("bool", [1]), C([4], "int64")], ["bool"], version=2)
one("BROADCAST_ARGS", "BROADCAST_ARGS", [T("int32", [2], values=[3, 1]), T("int32", [3], values=[2, 1, 5])], ["int32"])
one("SHAPE int64", "SHAPE", [F(2, 3)], ["int64"], "ShapeOptions", outType=S.TensorType.INT64)
one("RANK", "RANK", [F(2, 3, 1)], ["int32"])
one("SLICE", "SLICE", [F(4, 5, 6), C([1, 0, 2]), C([2, -1, 3])], ["float32"])
one("SLICE int64", "SLICE", [T("int64", [4, 5]), C([1, 0], "int64"), C([2, -1], "int64")], ["int64"])
one("SLICE rank 5", "SLICE", [F(2, 3, 2, 3, 2), C([0, 1, 0, 1, 0]), C([1, 2, -1, 1, 2])], ["float32"], version=5)
one("SLICE computed", "SLICE", [F(4, 5), T("int32", [2], values=[1, 2]), T("int32", [2], values=[2, -1])], [T("float32", free=True)])
one("SLICE empty", "SLICE", [F(4, 5), C([1, 2]), C([0, 2])], ["float32"])
strided = [("plain", [1, 0], [3, 5], [1, 2], {}), ("negative", [-1, -2], [-4, -5], [-1, -1], {}), ("begin mask", [1, 1], [3, 4], [1, 1], dict(beginMask=1)),
           ("end mask", [1, 1], [3, 4], [1, 1], dict(endMask=2)), ("masks backwards", [2, 2], [0, 0], [-1, -2], dict(beginMask=3, endMask=3)),
           ("shrink", [2, 1], [3, 4], [1, 1], dict(shrinkAxisMask=1)), ("shrink last", [-1, 0], [0, 5], [1, 1], dict(shrinkAxisMask=1, endMask=0)),
           ("new axis", [0, 1], [0, 3], [1, 1], dict(newAxisMask=1)), ("ellipsis", [0, 1], [0, 4], [1, 2], dict(ellipsisMask=1)),
           ("out of range", [-10, 3], [10, 100], [1, 1], {}),
           ("offset", [1, 1], [2, 3], [1, 1], dict(offset=True)), ("short", [1], [3], [1], {}),
           ("new axis and shrink", [0, 1, 2], [0, 2, 3], [1, 1, 1], dict(newAxisMask=1, shrinkAxisMask=4)),
           ("ellipsis and new axis", [0, 0, 1], [0, 0, 4], [1, 1, 1], dict(ellipsisMask=1, newAxisMask=2))]
for label, begin, end, step, fields in strided:
    one("STRIDED_SLICE " + label, "STRIDED_SLICE", [F(4, 5), C(begin), C(end), C(step)], ["float32"], "StridedSliceOptions",
        **fields)
    if "offset" not in fields:
        n = len(begin)
        one("STRIDED_SLICE computed " + label, "STRIDED_SLICE", [F(4, 5), T("int32", [n], values=begin), T("int32", [n], values=end), C(step)],
            [T("float32", free=True)], "StridedSliceOptions", **fields)
one("STRIDED_SLICE int8 rank 5", "STRIDED_SLICE", [Q8(2, 3, 4, 2, 3), C([0, 1, 3, 0, 2]), C([2, 3, 0, 2, 0]), C([1, 1, -2, 1, -1])], [Q8()], "StridedSliceOptions", version=4)
one("STRIDED_SLICE bool", "STRIDED_SLICE", [T("bool", [6]), C([1]), C([5]), C([2])], ["bool"], "StridedSliceOptions", version=3)
one("REVERSE_V2", "REVERSE_V2", [F(3, 4, 2), C([1])], ["float32"])
one("REVERSE_V2 negative", "REVERSE_V2", [T("int64", [3, 4, 2]), C([-1])], ["int64"])
one("REVERSE_V2 two", "REVERSE_V2", [Q8(3, 4, 2), C([0, 1])], [Q8()], version=3)
one("REVERSE_SEQUENCE", "REVERSE_SEQUENCE", [F(4, 3, 2), C([1, 4, 2])], ["float32"], "ReverseSequenceOptions", seqDim=0, batchDim=1)
one("REVERSE_SEQUENCE last", "REVERSE_SEQUENCE", [T("int32", [3, 2, 5]), T("int64", [3], values=[2, 5, 3])], ["int32"], "ReverseSequenceOptions", seqDim=2, batchDim=0)
one("CONCATENATION RELU", "CONCATENATION", [F(2, 3), F(2, 2)], ["float32"], "ConcatenationOptions", axis=-1, fusedActivationFunction=ACT.NONE)
one("CONCATENATION int8 other scales", "CONCATENATION", [Q8(2, 3, type="uint8", zero=100), Q8(2, 2, type="uint8", scale=0.03, zero=120)], [Q8(type="uint8", scale=0.06, zero=110)], "ConcatenationOptions", axis=1, quanta=1)
one("CONCATENATION rank 5", "CONCATENATION", [F(2, 1, 2, 1, 2), F(2, 1, 2, 3, 2)], ["float32"], "ConcatenationOptions", axis=3, version=4)
one("CONCATENATION bool", "CONCATENATION", [T("bool", [2]), T("bool", [3])], ["bool"], "ConcatenationOptions", axis=0)
for axis in (0, 1, -1):
    one("PACK %d" % axis, "PACK", [F(2, 3), F(2, 3)], ["float32"], "PackOptions", axis=axis, valuesCount=2)
    one("UNPACK %d" % axis, "UNPACK", [T("int32", [2, 2])], ["int32", "int32"], "UnpackOptions", axis=axis, num=2)
one("PACK int8", "PACK", [Q8(3), Q8(3)], [Q8()], "PackOptions", axis=0, valuesCount=2, version=2)
one("SPLIT", "SPLIT", [C(-1), F(2, 6)], ["float32"] * 3, "SplitOptions", numSplits=3)
one("SPLIT int8", "SPLIT", [C(1), Q8(2, 6)], [Q8(), Q8()], "SplitOptions", numSplits=2, version=2)
one("SPLIT_V", "SPLIT_V", [F(2, 6), C([1, -1, 2]), C(1)], ["float32"] * 3, "SplitVOptions", numSplits=3)
one("SPLIT_V negative axis", "SPLIT_V", [T("int32", [6, 2]), C([1, 5]), C(-2)], ["int32"] * 2, "SplitVOptions", numSplits=2)
one("PAD rank 5", "PAD", [F(1, 2, 2, 2, 1), C([[0, 0], [1, 0], [0, 2], [1, 1], [0, 1]])], ["float32"])
one("PAD int8", "PAD", [Q8(1, 2, 2, 1), C([[0, 0], [1, 0], [0, 2], [1, 1]])], [Q8()], version=2)
one("PAD int16", "PAD", [Q16(2, 2), C([[1, 0], [0, 2]])], [Q16()], version=3)
one("PAD int64 paddings", "PAD", [T("int32", [2, 2]), C([[1, 0], [0, 2]], "int64")], ["int32"], version=4)
one("PAD bool", "PAD", [T("bool", [2, 2]), C([[1, 0], [0, 2]])], ["bool"], version=4)
one("PADV2", "PADV2", [F(2, 2), C([[1, 0], [0, 2]]), C(-7.5, "float32")], ["float32"])
one("PADV2 int8", "PADV2", [Q8(2, 2), C([[1, 0], [0, 2]]), Q8(data=np.array(55, np.int8))], [Q8()], version=2)
one("PADV2 int64", "PADV2", [T("int64", [2, 2]), C([[1, 0], [0, 2]]), C(4, "int64")], ["int64"])
for mode in (0, 1):
    one("MIRROR_PAD %d" % mode, "MIRROR_PAD", [F(3, 4), C([[2, 1], [1, 3]])], ["float32"], "MirrorPadOptions", mode=mode)
    one("MIRROR_PAD int32 %d" % mode, "MIRROR_PAD", [T("int32", [1, 3, 4]), C([[0, 0], [2, 1], [3, 0]])], ["int32"], "MirrorPadOptions", mode=mode)
    one("MIRROR_PAD int8 %d" % mode, "MIRROR_PAD", [Q8(3, 4), C([[2, 1], [1, 3]])], [Q8()], "MirrorPadOptions", mode=mode, version=2)
one("MIRROR_PAD widest symmetric", "MIRROR_PAD", [F(2, 2), C([[2, 2], [2, 2]])], ["float32"], "MirrorPadOptions", mode=1)
one("SELECT rows", "SELECT", [T("bool", [3]), F(3, 2), F(3, 2)], ["float32"])
one("SELECT scalar", "SELECT", [T("bool", []), F(3, 2), F(3, 2)], ["float32"])
one("SELECT_V2", "SELECT_V2", [T("bool", [3, 1]), F(2), F(3, 2)], ["float32"])
one("SELECT_V2 rank 5", "SELECT_V2", [T("bool", [2, 1, 3, 1, 1]), F(1, 2, 1, 2, 2), F(2)], ["float32"])
for t in ("int32", "int64", "bool", "int16", "uint8", "uint32"):
    one("SELECT_V2 %s" % t, "SELECT_V2", [T("bool", [4]), T(t, [4], low=0), T(t, [4], low=0)], [t])
one("SELECT_V2 int8", "SELECT_V2", [T("bool", [4]), Q8(4), Q8(4)], [Q8()])
one("WHERE", "WHERE", [T("bool", [3, 4])], [T("int64", free=True)])
one("WHERE rank 1", "WHERE", [T("bool", [6])], [T("int64", free=True)])
one("WHERE float", "WHERE", [F(4, values=[0, 1, -2, 0])], [T("int64", free=True)])
one("FILL", "FILL", [C([2, 3]), C(1.5, "float32")], ["float32"])
one("FILL int64", "FILL", [C([2], "int64"), T("int64", [])], ["int64"])
one("FILL int8", "FILL", [C([2]), Q8(data=np.array(9, np.int8))], [Q8()], version=2)
one("FILL bool", "FILL", [C([2, 1]), C(True, "bool")], ["bool"], version=4)
one("RANGE float", "RANGE", [C(1.0, "float32"), C(2.0, "float32"), C(0.3, "float32")], ["float32"])
one("RANGE down", "RANGE", [T("int32", [], values=[7]), T("int32", [], values=[-2]), T("int32", [], values=[-2])], [T("int32", free=True)])
one("RANGE int64", "RANGE", [T("int64", [], values=[1]), T("int64", [], values=[9]), T("int64", [], values=[3])], [T("int64", free=True)])
one("ZEROS_LIKE", "ZEROS_LIKE", [T("int64", [2, 3])], ["int64"])
one("MATRIX_DIAG", "MATRIX_DIAG", [F(2, 3)], ["float32"])
one("MATRIX_DIAG int8", "MATRIX_DIAG", [T("int8", [3])], ["int8"])
for shape in ((3, 5), (5, 3), (4, 4)):
    one("MATRIX_SET_DIAG %dx%d" % shape, "MATRIX_SET_DIAG", [F(2, *shape), F(2, min(shape))], ["float32"])
one("DYNAMIC_UPDATE_SLICE", "DYNAMIC_UPDATE_SLICE", [F(4, 5), F(2, 2), T("int32", [2], values=[1, 3])], ["float32"])
one("DYNAMIC_UPDATE_SLICE clamped", "DYNAMIC_UPDATE_SLICE", [T("int32", [4, 5]), T("int32", [2, 2]), T("int32", [2], values=[-1, 9])], ["int32"])
one("DYNAMIC_UPDATE_SLICE int64 start", "DYNAMIC_UPDATE_SLICE", [F(4, 5), F(1, 5), T("int64", [2], values=[3, 0])], ["float32"], version=2)
one("DYNAMIC_UPDATE_SLICE bool", "DYNAMIC_UPDATE_SLICE", [T("bool", [4]), T("bool", [2]), T("int32", [1], values=[1])], ["bool"])
one("EMBEDDING_LOOKUP", "EMBEDDING_LOOKUP", [T("int32", [3], low=0, high=4), C(np.arange(10).reshape(5, 2), "float32")], ["float32"])
one("EMBEDDING_LOOKUP hybrid", "EMBEDDING_LOOKUP", [T("int32", [3], low=0, high=4), Q8(data=np.arange(10).reshape(5, 2).astype(np.int8), scale=0.1, zero=0)], ["float32"], version=3)
one("DILATE", "DILATE", [F(3, 4), C([2, 3]), C(0.5, "float32")], ["float32"], kind2="DilateOptions")
one("DILATE rank 4", "DILATE", [T("int32", [1, 2, 3, 2]), C([1, 2, 2, 1]), C(-1)], ["int32"], kind2="DilateOptions")
