# Operators that name other graphs, keep values or draw numbers. Run by make_tflite_examples.py.
def composite(name, x, y):
    model = Model()
    main, inner = model.graph(), model.graph("inner")
    a, b = main.input(x), main.input(y)
    main.output(main.op("STABLEHLO_COMPOSITE", [a, b], [T("float32", x.shape)], kind2="StableHLOCompositeOptions", name="odml.example",
                        decompositionSubgraphIndex=1, compositeAttributes=np.array([0, 0x24, 1], np.uint8))[0])
    p, q = inner.input(x), inner.input(y)
    t = inner.op("MUL", [p, q], [T("float32", x.shape)], "MulOptions")
    inner.output(inner.op("ADD", [t[0], C([0.5], "float32")], [T("float32", x.shape)], "AddOptions", fusedActivationFunction=ACT.RELU)[0])
    finish(name, "STABLEHLO_COMPOSITE", model, main)


composite("STABLEHLO_COMPOSITE", F(2, 3), F(2, 3))
model = Model()
main, then, other = model.graph(), model.graph("then"), model.graph("else")
c, x = main.input(T("bool", [])), main.input(F(2, 3))
main.output(main.op("IF", [c, x], [F(2, 3)], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2)[0])
for graph, op in ((then, "NEG"), (other, "EXP")):
    graph.output(graph.op(op, [graph.input(F(2, 3))], [F(2, 3)])[0])
finish("IF", "IF", model, main)
model = Model()
main, condition, body = model.graph(), model.graph("condition"), model.graph("body")
i, x = main.input(T("int32", [], values=[0])), main.input(F(2, 3))
for index in main.op("WHILE", [i, x], [T("int32"), F(2, 3)], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2):
    main.output(index)
k, _ = condition.input(T("int32")), condition.input(F(2, 3))
condition.output(condition.op("LESS", [k, C(3)], [T("bool")])[0])
k, v = body.input(T("int32")), body.input(F(2, 3))
body.output(body.op("ADD", [k, C(1)], [T("int32")], "AddOptions")[0])
body.output(body.op("MUL", [v, v], [F(2, 3)], "MulOptions")[0])
finish("WHILE", "WHILE", model, main)
# The weights of a loop: int8, and inputs that the source quantizes while it runs.
for batch in (1, 3):
    for asymmetric in (False, True):
        model = Model()
        main, condition, body = model.graph(), model.graph("condition"), model.graph("body")
        i, x = main.input(T("int32", [], values=[0])), main.input(F(batch, 8))
        made = main.op("WHILE", [i, x], [T("int32"), F(batch, 8)], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
        main.output(made[1])
        k, _ = condition.input(T("int32")), condition.input(F(batch, 8))
        condition.output(condition.op("LESS", [k, C(4)], [T("bool")])[0])
        k, v = body.input(T("int32")), body.input(F(batch, 8))
        weights = np.random.default_rng(5).integers(-127, 128, (8, 8)).astype("int8")
        body.output(body.op("ADD", [k, C(1)], [T("int32")], "AddOptions")[0])
        dense = body.op("FULLY_CONNECTED", [v, Q8(data=weights, scale=0.01, zero=0), None], [F(batch, 8)], "FullyConnectedOptions", version=9,
                        asymmetricQuantizeInputs=asymmetric)
        body.output(body.op("TANH", dense, [F(batch, 8)])[0])
        finish("WHILE hybrid %d %s" % (batch, asymmetric), "WHILE", model, main, tolerance=1e-3)
