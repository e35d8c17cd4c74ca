# Recurrent operators: coupled gates, peepholes, projections, clips, layer normalization. Each runs once, from
# states of zeros. Run by make_tflite_examples.py.
G = np.random.default_rng(11)


def w(*shape, size=0.5):
    return C(G.uniform(-size, size, shape), "float32")


def state(*shape):
    return T("float32", shape, variable=True)


def lstm(cells, features, outputs, cifg=False, peephole=False, projection=False, projection_bias=False, normalized=None):
    """Inputs 1 to 17 (and 20 to 23 behind the states) of one direction."""
    first = None if cifg else w(cells, features)
    given = [first] + [w(cells, features) for _ in range(3)]
    given += [None if cifg else w(cells, outputs)] + [w(cells, outputs) for _ in range(3)]
    given += [None if cifg or not peephole else w(cells)] + [w(cells) if peephole else None for _ in range(2)]
    given += [None if cifg else w(cells)] + [w(cells) for _ in range(3)]
    given += [w(outputs, cells) if projection else None, w(outputs) if projection_bias else None]
    return given


def norms(cells, cifg=False):
    return [None if cifg else C(G.uniform(0.5, 1.5, cells), "float32")] + [C(G.uniform(0.5, 1.5, cells), "float32") for _ in range(3)]


variants = [("plain", {}), ("cifg", dict(cifg=True)), ("peephole", dict(peephole=True)), ("cifg peephole", dict(cifg=True, peephole=True)),
            ("projection", dict(projection=True)), ("projection bias", dict(projection=True, projection_bias=True, peephole=True))]
for label, fields in variants:
    outputs = 3 if "projection" in fields else 5
    for time_major in (False, True):
        shape = (4, 2, 3) if time_major else (2, 4, 3)
        one("UNIDIRECTIONAL_SEQUENCE_LSTM %s %s" % (label, time_major), "UNIDIRECTIONAL_SEQUENCE_LSTM",
            [F(*shape)] + lstm(5, 3, outputs, **fields) + [state(2, outputs), state(2, 5)], ["float32"], "UnidirectionalSequenceLSTMOptions",
            fusedActivationFunction=ACT.TANH, timeMajor=time_major)
    one("UNIDIRECTIONAL_SEQUENCE_LSTM clips %s" % label, "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [F(2, 4, 3)] + lstm(5, 3, outputs, **fields) + [state(2, outputs), state(2, 5)], ["float32"], "UnidirectionalSequenceLSTMOptions",
        fusedActivationFunction=ACT.TANH, cellClip=0.15, projClip=0.1)
    one("UNIDIRECTIONAL_SEQUENCE_LSTM normalized %s" % label, "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [F(2, 4, 3)] + lstm(5, 3, outputs, **fields) + [state(2, outputs), state(2, 5)] + norms(5, fields.get("cifg", False)), ["float32"],
        "UnidirectionalSequenceLSTMOptions", version=2, fusedActivationFunction=ACT.TANH)
    one("LSTM %s" % label, "LSTM", [F(2, 3)] + lstm(5, 3, outputs, **fields) + [state(2, outputs), state(2, 5)], ["float32"], "LSTMOptions",
        fusedActivationFunction=ACT.TANH, cellClip=0.5)
for merge in (False, True):
    for time_major in (False, True):
        batch = 2 if time_major or not merge else 1  # LiteRT's kernel merges more rows of a batch wrongly
        shape = (4, batch, 3) if time_major else (batch, 4, 3)
        states = [state(batch, 5) for _ in range(4)]
        one("BIDIRECTIONAL_SEQUENCE_LSTM %s %s" % (merge, time_major), "BIDIRECTIONAL_SEQUENCE_LSTM",
            [F(*shape)] + lstm(5, 3, 5) + lstm(5, 3, 5) + states + [None] * 9, ["float32"] * (1 if merge else 2), "BidirectionalSequenceLSTMOptions",
            fusedActivationFunction=ACT.TANH, timeMajor=time_major, mergeOutputs=merge)
for act in (ACT.TANH, ACT.RELU, ACT.RELU6, ACT.NONE):
    one("RNN %d" % act, "RNN", [F(2, 3), w(5, 3), w(5, 5), w(5), state(2, 5)], ["float32"], "RNNOptions", fusedActivationFunction=act)
    for time_major in (False, True) if act in (ACT.TANH, ACT.RELU) else ():
        shape = (4, 2, 3) if time_major else (2, 4, 3)
        one("UNIDIRECTIONAL_SEQUENCE_RNN %d %s" % (act, time_major), "UNIDIRECTIONAL_SEQUENCE_RNN", [F(*shape), w(5, 3), w(5, 5), w(5), state(2, 5)],
            ["float32"], "SequenceRNNOptions", fusedActivationFunction=act, timeMajor=time_major)
for merge in (False, True):
    one("BIDIRECTIONAL_SEQUENCE_RNN %s" % merge, "BIDIRECTIONAL_SEQUENCE_RNN",
        [F(4, 2, 3), w(5, 3), w(5, 5), w(5), state(2, 5), w(5, 3), w(5, 5), w(5), state(2, 5), None, None, None],
        ["float32"] * (1 if merge else 2), "BidirectionalSequenceRNNOptions", fusedActivationFunction=ACT.TANH, timeMajor=True, mergeOutputs=merge)
for rank in (1, 2):
    one("SVDF %d" % rank, "SVDF", [F(2, 3), w(4, 3), w(4, 6), w(4 // rank), state(2, 24)], ["float32"], "SVDFOptions", rank=rank,
        fusedActivationFunction=ACT.RELU)
# A further input: with weights for both directions, or what the backward one reads in place of the first.
for cifg in (False, True):
    states = [state(2, 5) for _ in range(4)]
    further = [None if cifg else w(5, 2), w(5, 2), w(5, 2), w(5, 2)]
    one("BIDIRECTIONAL_SEQUENCE_LSTM linked %s" % cifg, "BIDIRECTIONAL_SEQUENCE_LSTM",
        [F(2, 4, 3)] + lstm(5, 3, 5, cifg=cifg) + lstm(5, 3, 5, cifg=cifg) + states + [F(2, 4, 2)] + further + further, ["float32"] * 2,
        "BidirectionalSequenceLSTMOptions", fusedActivationFunction=ACT.TANH, timeMajor=False)
    one("BIDIRECTIONAL_SEQUENCE_LSTM stacked %s" % cifg, "BIDIRECTIONAL_SEQUENCE_LSTM",
        [F(4, 2, 3)] + lstm(5, 3, 5, cifg=cifg) + lstm(5, 3, 5, cifg=cifg) + states + [F(4, 2, 3)] + [None] * 8, ["float32"] * 2,
        "BidirectionalSequenceLSTMOptions", fusedActivationFunction=ACT.TANH, timeMajor=True)
for time_major in (False, True):
    shape = (4, 2) if time_major else (2, 4)
    sides = [w(5, 3), w(5, 5), w(5), state(2, 5), w(5, 3), w(5, 5), w(5), state(2, 5)]
    one("BIDIRECTIONAL_SEQUENCE_RNN linked %s" % time_major, "BIDIRECTIONAL_SEQUENCE_RNN", [F(*shape, 3)] + sides + [F(*shape, 3), w(5, 3), w(5, 3)],
        ["float32"] * 2, "BidirectionalSequenceRNNOptions", fusedActivationFunction=ACT.TANH, timeMajor=time_major)
    one("BIDIRECTIONAL_SEQUENCE_RNN stacked %s" % time_major, "BIDIRECTIONAL_SEQUENCE_RNN", [F(*shape, 3)] + sides + [F(*shape, 3), None, None],
        ["float32"] * 2, "BidirectionalSequenceRNNOptions", fusedActivationFunction=ACT.RELU, timeMajor=time_major)
