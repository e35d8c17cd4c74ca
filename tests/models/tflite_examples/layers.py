# Layers: windows, products, images, spectra. Run by make_tflite_examples.py.
W = np.random.default_rng(7)


def weights(*shape, type="float32"):
    if type == "float32":
        return W.uniform(-1, 1, shape).astype("float32")
    low, high = (-7, 8) if type == "int4" else (-127, 128)
    return W.integers(low, high, shape).astype("int8")


for padding in (0, 1):
    for h, w in ((7, 8), (6, 5)):
        tag = "%s %dx%d" % (("SAME", "VALID")[padding], h, w)
        one("CONV_2D stride 2x3 " + tag, "CONV_2D", [F(2, h, w, 3), C(weights(4, 3, 2, 3), "float32"), C(weights(4), "float32")], ["float32"],
            "Conv2DOptions", padding=padding, strideH=2, strideW=3, fusedActivationFunction=ACT.RELU6)
        one("CONV_2D dilation " + tag, "CONV_2D", [F(1, h, w, 2), C(weights(3, 2, 2, 2), "float32"), C(weights(3), "float32")], ["float32"], "Conv2DOptions", version=2,
            padding=padding, strideH=1, strideW=1, dilationHFactor=2, dilationWFactor=3, fusedActivationFunction=ACT.RELU_N1_TO_1)
        one("DEPTHWISE_CONV_2D multiplier " + tag, "DEPTHWISE_CONV_2D", [F(1, h, w, 3), C(weights(1, 3, 2, 6), "float32"), C(weights(6), "float32")],
            ["float32"], "DepthwiseConv2DOptions", padding=padding, strideH=2, strideW=2, depthMultiplier=2, fusedActivationFunction=ACT.RELU)
        one("DEPTHWISE_CONV_2D dilation " + tag, "DEPTHWISE_CONV_2D", [F(1, h, w, 2), C(weights(1, 3, 3, 2), "float32"), C(weights(2), "float32")],
            ["float32"], "DepthwiseConv2DOptions", version=2, padding=padding, strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=2,
            dilationWFactor=2)
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
            one("%s %s" % (op, tag), op, [F(1, h, w, 2)], ["float32"], "Pool2DOptions", padding=padding, strideH=2, strideW=1, filterHeight=3,
                filterWidth=2, fusedActivationFunction=ACT.RELU_N1_TO_1 if op[0] == "L" else ACT.RELU)
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            one("%s int8 %s" % (op, tag), op, [Q8(1, h, w, 2)], [Q8()], "Pool2DOptions", version=2, padding=padding, strideH=2, strideW=2,
                filterHeight=3, filterWidth=3, fusedActivationFunction=ACT.RELU6, quanta=1)
            one("%s int16 %s" % (op, tag), op, [Q16(1, h, w, 2)], [Q16()], "Pool2DOptions", version=3, padding=padding, strideH=2, strideW=2,
                filterHeight=3, filterWidth=3, quanta=1)
            one("%s uint8 %s" % (op, tag), op, [Q8(1, h, w, 2, type="uint8", zero=130)], [Q8(type="uint8", zero=130)], "Pool2DOptions", padding=padding,
                strideH=1, strideW=2, filterHeight=2, filterWidth=3, quanta=1)
one("CONV_2D groups", "CONV_2D", [F(1, 5, 5, 4), C(weights(6, 3, 3, 2), "float32"), C(weights(6), "float32")], ["float32"], "Conv2DOptions", version=6, padding=0,
    strideH=1, strideW=1)
per_channel = [0.01, 0.02, 0.015, 0.03]
one("CONV_2D int8 per channel", "CONV_2D", [Q8(1, 5, 6, 3), T(data=weights(4, 3, 3, 3, type="int8"), scale=per_channel, axis=0),
                                            T(data=np.array([100, -200, 300, 0], "int32"), scale=[0.05 * s for s in per_channel], axis=0)],
    [Q8(scale=0.4, zero=-10)], "Conv2DOptions", version=3, padding=0, strideH=1, strideW=1, fusedActivationFunction=ACT.RELU, quanta=1)
one("CONV_2D int16", "CONV_2D", [Q16(1, 5, 6, 3), T(data=weights(4, 3, 3, 3, type="int8"), scale=per_channel, axis=0),
                                 T(data=np.array([100, -2000, 3000, 0], "int64"), scale=[2.0 ** -12 * s for s in per_channel], axis=0)],
    [Q16(scale=0.002)], "Conv2DOptions", version=4, padding=0, strideH=1, strideW=1, quanta=1)
one("CONV_2D int4", "CONV_2D", [Q8(1, 5, 6, 3), T("int4", data=weights(3, 3, 3, 3, type="int4"), scale=[0.1, 0.2, 0.15], axis=0),
                                T(data=np.array([100, -200, 300], "int32"), scale=[0.05 * s for s in (0.1, 0.2, 0.15)], axis=0)],
    [Q8(scale=0.4, zero=-10)], "Conv2DOptions", version=7, padding=0, strideH=1, strideW=1, quanta=1)
one("CONV_2D uint8", "CONV_2D", [Q8(1, 5, 6, 3, type="uint8", zero=120), T(data=W.integers(0, 255, (4, 3, 3, 3)).astype("uint8"), scale=0.02, zero=125),
                                 T(data=np.array([100, -200, 300, 0], "int32"), scale=0.05 * 0.02)],
    [Q8(type="uint8", scale=0.2, zero=100)], "Conv2DOptions", padding=1, strideH=2, strideW=1, fusedActivationFunction=ACT.RELU6, quanta=1)
one("CONV_2D hybrid", "CONV_2D", [F(1, 5, 6, 3), T(data=weights(4, 3, 3, 3, type="int8"), scale=per_channel, axis=0), C(weights(4), "float32")],
    ["float32"], "Conv2DOptions", version=5, padding=0, strideH=1, strideW=1, tolerance=3e-2)
one("DEPTHWISE_CONV_2D int8", "DEPTHWISE_CONV_2D", [Q8(1, 5, 6, 2), T(data=weights(1, 3, 3, 4, type="int8"), scale=per_channel, axis=3),
                                                    T(data=np.array([100, -200, 300, 0], "int32"), scale=[0.05 * s for s in per_channel], axis=0)],
    [Q8(scale=0.2, zero=-10)], "DepthwiseConv2DOptions", version=3, padding=0, strideH=1, strideW=1, depthMultiplier=2, quanta=1)
one("CONV_3D", "CONV_3D", [F(1, 4, 5, 6, 2), C(weights(2, 3, 2, 2, 3), "float32"), C(weights(3), "float32")], ["float32"], "Conv3DOptions", padding=0,
    strideD=2, strideH=1, strideW=2, dilationDFactor=1, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=ACT.RELU)
one("CONV_3D_TRANSPOSE", "CONV_3D_TRANSPOSE", [C([1, 4, 6, 7, 2]), C(weights(2, 3, 2, 2, 3), "float32"), F(1, 2, 3, 4, 3)], ["float32"], "Conv3DOptions",
    padding=0, strideD=2, strideH=2, strideW=2, dilationDFactor=1, dilationHFactor=1, dilationWFactor=1)
for out, padding in (([1, 8, 10, 2], 0), ([1, 7, 9, 2], 0), ([1, 9, 10, 2], 1), ([1, 10, 11, 2], 1)):
    one("TRANSPOSE_CONV %s %d" % (out[1:3], padding), "TRANSPOSE_CONV", [C(out), C(weights(2, 3, 2, 3), "float32"), F(1, 4, 5, 3), C(weights(2), "float32")],
        ["float32"], "TransposeConvOptions", version=4, padding=padding, strideH=2, strideW=2, fusedActivationFunction=ACT.RELU)
one("TRANSPOSE_CONV int8", "TRANSPOSE_CONV", [C([1, 8, 10, 4]), T(data=weights(4, 3, 3, 3, type="int8"), scale=per_channel, axis=0), Q8(1, 4, 5, 3),
                                              T(data=np.array([100, -200, 300, 0], "int32"), scale=[0.05 * s for s in per_channel], axis=0)],
    [Q8(scale=0.2, zero=-10)], "TransposeConvOptions", version=3, padding=0, strideH=2, strideW=2, quanta=1)
for keep in (False, True):
    for shape in ((2, 6), (2, 3, 6), (2, 3, 2, 3), (6,)):
        if keep and shape[-1] != 6:
            continue
        one("FULLY_CONNECTED %s %s" % (shape, keep), "FULLY_CONNECTED", [F(*shape), C(weights(4, 6), "float32"), C(weights(4), "float32")], ["float32"],
            "FullyConnectedOptions", version=5, keepNumDims=keep, fusedActivationFunction=ACT.RELU6)
one("FULLY_CONNECTED computed weights", "FULLY_CONNECTED", [F(2, 6), F(4, 6), F(4)], ["float32"], "FullyConnectedOptions", version=6)
one("FULLY_CONNECTED int8", "FULLY_CONNECTED", [Q8(2, 6), Q8(data=weights(4, 6, type="int8"), scale=0.02, zero=0), T(data=np.array([9, -9, 50, 0], "int32"), scale=0.001)],
    [Q8(scale=0.2, zero=-3)], "FullyConnectedOptions", version=4, quanta=1, fusedActivationFunction=ACT.RELU_N1_TO_1)
one("FULLY_CONNECTED int8 per channel", "FULLY_CONNECTED", [Q8(2, 6), T(data=weights(4, 6, type="int8"), scale=per_channel, axis=0), None], [Q8(scale=0.2, zero=-3)],
    "FullyConnectedOptions", version=11, quanta=1)
one("FULLY_CONNECTED int16", "FULLY_CONNECTED", [Q16(2, 6), Q8(data=weights(4, 6, type="int8"), scale=0.02, zero=0), T(data=np.array([9, -9, 50, 0], "int64"), scale=0.02 * 2.0 ** -12)],
    [Q16(scale=0.002)], "FullyConnectedOptions", version=7, quanta=1)
one("FULLY_CONNECTED uint8", "FULLY_CONNECTED", [Q8(2, 6, type="uint8", zero=128), Q8(data=W.integers(0, 255, (4, 6)).astype("uint8"), type="uint8", scale=0.02, zero=128),
                                                 T(data=np.array([9, -9, 50, 0], "int32"), scale=0.001)], [Q8(type="uint8", scale=0.2, zero=130)], "FullyConnectedOptions", quanta=1)
for asymmetric in (False, True):
    one("FULLY_CONNECTED hybrid %s" % asymmetric, "FULLY_CONNECTED", [F(2, 6), Q8(data=weights(4, 6, type="int8"), scale=0.02, zero=0), C(weights(4), "float32")], ["float32"],
        "FullyConnectedOptions", version=9, asymmetricQuantizeInputs=asymmetric, tolerance=3e-2)
one("FULLY_CONNECTED int4", "FULLY_CONNECTED", [Q8(2, 6), T("int4", data=weights(4, 6, type="int4"), scale=0.1), None], [Q8(scale=0.2, zero=-3)], "FullyConnectedOptions", version=10, quanta=1)
for x, y in ((False, False), (True, False), (False, True), (True, True)):
    a = (2, 5, 3) if x else (2, 3, 5)
    b = (4, 5) if y else (5, 4)
    one("BATCH_MATMUL %s %s" % (x, y), "BATCH_MATMUL", [F(*a), F(2, *b)], ["float32"], "BatchMatMulOptions", adjX=x, adjY=y)
    one("BATCH_MATMUL constant %s %s" % (x, y), "BATCH_MATMUL", [F(*a), C(weights(1, *b), "float32")], ["float32"], "BatchMatMulOptions", adjX=x, adjY=y)
    one("BATCH_MATMUL int8 %s %s" % (x, y), "BATCH_MATMUL", [Q8(*a), Q8(2, *b, scale=0.02, zero=-4)], [Q8(scale=0.1, zero=4)], "BatchMatMulOptions", version=2, adjX=x, adjY=y, quanta=1)
one("BATCH_MATMUL rank 5", "BATCH_MATMUL", [F(2, 1, 3, 2, 3), F(1, 2, 1, 3, 2)], ["float32"], "BatchMatMulOptions")
one("BATCH_MATMUL int16", "BATCH_MATMUL", [Q16(2, 3, 5), Q16(2, 5, 4, scale=2.0 ** -13)], [Q16(scale=2.0 ** -10)], "BatchMatMulOptions", version=3, quanta=1)
for op, kind in (("RESIZE_BILINEAR", "ResizeBilinearOptions"), ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")):
    for corners, half in ((False, False), (True, False), (False, True)):
        for size in ([5, 7], [3, 2], [1, 1]):
            tag = "%s %s %s %s" % (op, corners, half, size)
            one(tag, op, [F(1, 4, 4, 2), C(size)], ["float32"], kind, version=3, alignCorners=corners, halfPixelCenters=half)
        one("%s int8 %s %s" % (op, corners, half), op, [Q8(1, 4, 4, 2), C([7, 6])], [Q8()], kind, version=3 if "BI" in op else 2, alignCorners=corners, halfPixelCenters=half, quanta=1)
        one("%s int16 %s %s" % (op, corners, half), op, [Q16(1, 4, 4, 2), C([7, 6])], [Q16()], kind, version=4, alignCorners=corners, halfPixelCenters=half, quanta=1)
one("DEPTH_TO_SPACE", "DEPTH_TO_SPACE", [F(1, 2, 3, 8)], ["float32"], "DepthToSpaceOptions", blockSize=2)
one("DEPTH_TO_SPACE int8", "DEPTH_TO_SPACE", [Q8(1, 2, 3, 8)], [Q8()], "DepthToSpaceOptions", blockSize=2)
one("DEPTH_TO_SPACE int32", "DEPTH_TO_SPACE", [T("int32", [1, 2, 3, 8])], ["int32"], "DepthToSpaceOptions", blockSize=2)
one("SPACE_TO_DEPTH", "SPACE_TO_DEPTH", [F(1, 4, 6, 2)], ["float32"], "SpaceToDepthOptions", blockSize=2)
one("SPACE_TO_DEPTH int64", "SPACE_TO_DEPTH", [T("int64", [1, 4, 6, 2])], ["int64"], "SpaceToDepthOptions", blockSize=2)
one("SPACE_TO_BATCH_ND", "SPACE_TO_BATCH_ND", [F(2, 3, 4, 2), C([2, 2]), C([[1, 0], [0, 2]])], ["float32"])
one("SPACE_TO_BATCH_ND rank 3", "SPACE_TO_BATCH_ND", [F(2, 5, 2), C([3]), C([[1, 0]])], ["float32"])
one("SPACE_TO_BATCH_ND int8", "SPACE_TO_BATCH_ND", [Q8(1, 3, 4, 2), C([2, 2]), C([[1, 0], [0, 2]])], [Q8()], version=2)
one("BATCH_TO_SPACE_ND", "BATCH_TO_SPACE_ND", [F(8, 2, 3, 2), C([2, 2]), C([[1, 0], [0, 2]])], ["float32"])
one("BATCH_TO_SPACE_ND rank 3", "BATCH_TO_SPACE_ND", [Q8(6, 2, 2), C([3]), C([[1, 0]])], [Q8()], version=2)
one("LOCAL_RESPONSE_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", [F(1, 2, 2, 7)], ["float32"], "LocalResponseNormalizationOptions", radius=2, bias=1.5, alpha=0.3, beta=0.6)
one("L2_NORMALIZATION", "L2_NORMALIZATION", [F(2, 3, 4)], ["float32"], "L2NormOptions")
one("L2_NORMALIZATION int8", "L2_NORMALIZATION", [Q8(2, 6)], [Q8(scale=1 / 128, zero=0)], "L2NormOptions", version=2, quanta=1)
one("L2_NORMALIZATION tiny", "L2_NORMALIZATION", [F(2, 3, values=[1e-8, 0, -2e-8, 1e-5, 2e-5, 0])], ["float32"], "L2NormOptions")
one("L2_NORMALIZATION zeros", "L2_NORMALIZATION", [F(2, 3, values=[0, 0, 0, 1, 2, 3])], ["float32"], "L2NormOptions")
for lengths in ([4, 8], [2, 4], [8, 4], [1, 8]):
    model = Model()
    graph = model.graph()
    x = graph.input(F(2, 4, 8))
    spectrum = graph.op("RFFT2D", [x, C(lengths)], [T("complex64", [2, lengths[0], lengths[1] // 2 + 1])])
    size = graph.op("COMPLEX_ABS", spectrum, [T("float32")])
    real = graph.op("REAL", spectrum, [T("float32")])
    imaginary = graph.op("IMAG", spectrum, [T("float32")])
    for made in (size, real, imaginary):
        graph.output(made[0])
    finish("RFFT2D %s" % lengths, "RFFT2D", model, graph)
