#!/usr/bin/env bash
# The same job here and on a server: same bytes, same words.
source "$(dirname "$0")/lib.sh"
start_server one 0

cat >"$WORK/recipe.yaml" <<'Y'
passes:
  - quantize_weights: {granularity: per_channel, weights: {min_elements: 64}}
quality:
  - {metric: accuracy, max_drop: 0.02}
Y
job=(modelpress compress "$MODEL" --recipe "$WORK/recipe.yaml" --data "$DATA")

# Times and memory differ from run to run, everything else may not.
steady() {
  sed -E -e '/^(Time|Memory|Latency)/d' -e 's/[0-9.]+ (us|ms|s)\b/TIME/g' -e 's/[0-9.]+x (faster|SLOWER)/FACTOR/g' \
    -e '/latency|slower|faster/Id' -e 's/ +/ /g' "$1"
}

expect_code 0 "local job" "${job[@]}" -o "$WORK/local.onnx"
steady "$WORK/stdout" | sed 's/local\.onnx/OUT/' >"$WORK/local.txt"
check "the table names accuracy" grep -q "^ accuracy" "$WORK/local.txt"
check "progress does not go to stdout" bash -c "! grep -q '%  *quantize' '$WORK/stdout'"
expect_code 0 "remote job" "${job[@]}" -o "$WORK/remote.onnx" --server "127.0.0.1:$PORT" --report "$WORK/report.json"
steady "$WORK/stdout" | sed 's/remote\.onnx/OUT/' >"$WORK/remote.txt"
check "same bytes" same_bytes "$WORK/local.onnx" "$WORK/remote.onnx"
check "same words" diff "$WORK/local.txt" "$WORK/remote.txt"
check "the report is JSON" python3 -c "import json; assert json.load(open('$WORK/report.json'))['judgement']['artifact']['accuracy'] > 0.5"

for threads in 1 2 5; do
  expect_code 0 "local job, $threads threads" "${job[@]}" -o "$WORK/$threads.onnx" --threads "$threads"
  check "same bytes on $threads threads" same_bytes "$WORK/local.onnx" "$WORK/$threads.onnx"
done

expect_code 0 "server by environment" env MODELPRESS_SERVER="127.0.0.1:$PORT" "${job[@]}" -o "$WORK/environment.onnx"
check "same bytes by environment" same_bytes "$WORK/local.onnx" "$WORK/environment.onnx"

mkdir "$WORK/a" "$WORK/b"
expect_code 0 "sidecar, local" modelpress convert "$MODEL" -o "$WORK/a/m.onnx" --layout sidecar
expect_code 0 "sidecar, remote" modelpress convert "$MODEL" -o "$WORK/b/m.onnx" --layout sidecar --server "127.0.0.1:$PORT"
check "same folders" diff -r "$WORK/a" "$WORK/b"
check "a sidecar was written" test -n "$(find "$WORK/a" -name 'weights-*.data')"
expect_code 0 "a model with a sidecar, remote" modelpress convert "$WORK/a/m.onnx" -o "$WORK/back.onnx" --layout inline \
  --server "127.0.0.1:$PORT"
expect_code 0 "the way back changes nothing" modelpress verify "$MODEL" "$WORK/back.onnx" --require max_abs_error.max=0

expect_code 0 "plan, local" "${job[@]}" --plan
expect_code 0 "plan, remote" "${job[@]}" --plan --server "127.0.0.1:$PORT"
expect_code 0 "capabilities, local" modelpress capabilities --json
python3 -c "import json,sys; d=json.load(open('$WORK/stdout')); json.dump([d['passes'],d['formats']],open('$WORK/l.json','w'))"
expect_code 0 "capabilities, remote" modelpress capabilities --json --server "127.0.0.1:$PORT"
python3 -c "import json,sys; d=json.load(open('$WORK/stdout')); json.dump([d['passes'],d['formats']],open('$WORK/r.json','w'))"
check "same capabilities" same_bytes "$WORK/l.json" "$WORK/r.json"
expect_code 0 "jobs list" modelpress jobs list --server "127.0.0.1:$PORT"
check "nothing hidden is left" no_leftovers "$WORK"
finish
