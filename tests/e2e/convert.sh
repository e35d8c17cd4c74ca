#!/usr/bin/env bash
# A TensorFlow Lite model wherever a model is taken, here and on a server: converted in one step or in two, same bytes.
source "$(dirname "$0")/lib.sh"
start_server one 0
SEEDS=$HERE/../fuzz/corpus/model_reader
cp "$SEEDS/conv.tflite" "$WORK/m.tflite"
lacks() { ! grep -q "$1" "$2"; }
small=(--pass quantize_weights:weights.min_elements=8)

expect_code 0 "convert" modelpress convert "$WORK/m.tflite" -o "$WORK/m.onnx"
expect_code 0 "convert, remote" modelpress convert "$WORK/m.tflite" -o "$WORK/remote.onnx" --server "127.0.0.1:$PORT"
check "same bytes from the server" same_bytes "$WORK/m.onnx" "$WORK/remote.onnx"

expect_code 0 "compress at once" modelpress compress "$WORK/m.tflite" -o "$WORK/once.onnx" "${small[@]}"
expect_code 0 "compress at once, remote" modelpress compress "$WORK/m.tflite" -o "$WORK/once_remote.onnx" "${small[@]}" \
  --server "127.0.0.1:$PORT"
expect_code 0 "compress what was converted" modelpress compress "$WORK/m.onnx" -o "$WORK/twice.onnx" "${small[@]}"
check "one step gives the bytes of two" same_bytes "$WORK/once.onnx" "$WORK/twice.onnx"
check "on a server too" same_bytes "$WORK/once.onnx" "$WORK/once_remote.onnx"

expect_code 0 "plan" modelpress compress "$WORK/m.tflite" -o "$WORK/x.onnx" "${small[@]}" --plan
expect_code 0 "inspect" modelpress inspect "$WORK/m.tflite"
check "the format is told" grep -qi "tflite" "$WORK/stdout"
expect_code 0 "verify against what was converted" modelpress verify "$WORK/m.tflite" "$WORK/m.onnx" \
  --require max_abs_error.max=0
expect_code 0 "opset" modelpress convert "$WORK/m.tflite" -o "$WORK/old.onnx" --opset 17
expect_code 0 "the older opset gives the same" modelpress verify "$WORK/m.onnx" "$WORK/old.onnx" --require max_abs_error.max=0

expect_code 3 "operators that nothing translates" modelpress convert "$SEEDS/refused.tflite" -o "$WORK/r.onnx"
check "are named" grep -q "operator" "$WORK/stderr"
expect_code 3 "on a server as well" modelpress convert "$SEEDS/refused.tflite" -o "$WORK/r.onnx" --server "127.0.0.1:$PORT"
check "nothing was written" test ! -e "$WORK/r.onnx"

# The shape that is asked for, and the outputs that the caller has.
python3 - "$WORK" <<'P'
import struct, sys
def npy(path, shape, values):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }" % (tuple(shape),)
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    open(path, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
                           + struct.pack("<%df" % len(values), *values))
import os
os.makedirs(sys.argv[1] + "/expect")
npy(sys.argv[1] + "/expect/in0.npy", [1, 4, 4, 2], [0.0] * 32)
npy(sys.argv[1] + "/expect/out0.npy", [1, 2], [3.0, -3.0])
os.makedirs(sys.argv[1] + "/data")
npy(sys.argv[1] + "/data/x.npy", [16, 4, 4, 2], [i * 37 % 101 / 50.5 - 1 for i in range(512)])
P
bounds=(--data "$WORK/data" --require sqnr_db.min=5)
expect_code 0 "tune at once" modelpress tune "$WORK/m.tflite" "${bounds[@]}" -o "$WORK/tuned.onnx"
expect_code 0 "tune what was converted" modelpress tune "$WORK/m.onnx" "${bounds[@]}" -o "$WORK/tuned_twice.onnx"
check "one step gives the bytes of two" same_bytes "$WORK/tuned.onnx" "$WORK/tuned_twice.onnx"
expect_code 4 "outputs that are not those of the caller" modelpress convert "$WORK/m.tflite" -o "$WORK/e.onnx" \
  --expect "$WORK/expect"
expect_code 3 "a shape that does not fit" modelpress convert "$WORK/m.tflite" -o "$WORK/s.onnx" --input-shape x:1,9,4,2
# Arrays under other names are taken by their place, if there are as many.
mkdir "$WORK/placed"
cp "$WORK/expect/in0.npy" "$WORK/placed/image.npy"
cp "$WORK/expect/out0.npy" "$WORK/placed/out_scores.npy"
expect_code 4 "arrays of other names" modelpress convert "$WORK/m.tflite" -o "$WORK/p.onnx" --expect "$WORK/placed"
check "are taken by their place" grep -q "by its place" "$WORK/stdout"
cp "$WORK/placed/image.npy" "$WORK/placed/image2.npy"
expect_code 3 "or missed" modelpress convert "$WORK/m.tflite" -o "$WORK/p2.onnx" --expect "$WORK/placed"
check "with the names of those that are there" stderr_has "image2.npy"

# Weights into a graph, here and on a server; the graph with its weights in a file of their own.
expect_code 0 "weights out" modelpress convert "$MODEL" -o "$WORK/w.safetensors"
mkdir "$WORK/side"
expect_code 0 "a graph in two files" modelpress convert "$MODEL" -o "$WORK/side/model.onnx" --layout sidecar
expect_code 0 "weights into the graph" modelpress convert "$WORK/w.safetensors" --onto "$WORK/side/model.onnx" \
  -o "$WORK/onto.onnx"
expect_code 0 "on a server" modelpress convert "$WORK/w.safetensors" --onto "$WORK/side/model.onnx" \
  -o "$WORK/onto_remote.onnx" --server "127.0.0.1:$PORT"
check "same bytes from the server" same_bytes "$WORK/onto.onnx" "$WORK/onto_remote.onnx"
expect_code 0 "the model is what it was" modelpress verify "$MODEL" "$WORK/onto.onnx" --require max_abs_error.max=0
expect_code 0 "a normalized convolution" modelpress convert "$SEEDS/normalized.pt2" -o "$WORK/norm.onnx"
check "has no normalization left" lacks BatchNormalization "$WORK/norm.onnx"
expect_code 0 "and computes the same" modelpress verify "$SEEDS/normalized.pt2" "$WORK/norm.onnx" \
  --require max_abs_error.max=0.00001
expect_code 0 "a state dict into the program" modelpress convert "$SEEDS/normalized.pth" --onto "$SEEDS/normalized.pt2" \
  -o "$WORK/trained.onnx" --server "127.0.0.1:$PORT"
check "its counters are left out" grep -q "num_batches_tracked" "$WORK/stdout"
expect_code 0 "gives what the program had" modelpress verify "$WORK/norm.onnx" "$WORK/trained.onnx" \
  --require max_abs_error.max=0
echo '{"no such tensor": "other"}' >"$WORK/renames.json"
for where in "" "--server 127.0.0.1:$PORT"; do
  # shellcheck disable=SC2086  # two words or none
  expect_code 3 "a tensor that does not exist $where" modelpress convert "$WORK/w.safetensors" \
    --onto "$WORK/side/model.onnx" --rename "$WORK/renames.json" -o "$WORK/bad.onnx" $where
  check "is named" stderr_has "no such tensor"
  # shellcheck disable=SC2086
  expect_code 3 "weights without a graph $where" modelpress convert "$WORK/w.safetensors" -o "$WORK/bad.onnx" $where
  check "the way out is told" stderr_has "--onto"
done
check "nothing was written" test ! -e "$WORK/bad.onnx"
check "nothing hidden is left" no_leftovers "$WORK"
finish
