#!/usr/bin/env bash
# Students of a small model, locally and remotely; a given one; a requirement that none meets; cancelling.
source "$(dirname "$0")/lib.sh"

programs=$(dirname "$(command -v modelpress)")
if [[ ! -x $programs/modelpress-trainer ]]; then
  expect_code 3 "without a trainer" modelpress compress "$MODEL" -o "$WORK/x.onnx" --data "$DATA" --pass distill
  check "the reason is told" stderr_has TRAINER_MISSING
  finish
  exit
fi
start_server one 0

distill=(modelpress compress "$MODEL" --data "$DATA")
short=training.steps=120,training.learning_rate=0.003
report() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); p=[p for p in r.get("report", r)["passes"] if p["pass"]=="distill"][0]; print(eval(sys.argv[2]))' "$1" "$2"; }

expect_code 0 "a search, local" "${distill[@]}" --pass "distill:max_students=3,$short" --require accuracy.min=0.6 \
  -o "$WORK/local.onnx" --report "$WORK/local.json"
check "the students are in the report" grep -q "CHOSEN" "$WORK/stdout"
check "it is smaller" python3 -c 'import os,sys; sys.exit(os.path.getsize(sys.argv[2]) >= 0.8 * os.path.getsize(sys.argv[1]))' "$MODEL" "$WORK/local.onnx"
check "intervals are told" test "$(report "$WORK/local.json" '[s for s in p["students"] if s.get("chosen")][0]["after"][0]["low"] >= 0.6')" = True
expect_code 0 "the same, remote" "${distill[@]}" --pass "distill:max_students=3,$short" --require accuracy.min=0.6 \
  -o "$WORK/remote.onnx" --server "127.0.0.1:$PORT"
check "same bytes" same_bytes "$WORK/local.onnx" "$WORK/remote.onnx"

expect_code 0 "a page" "${distill[@]}" --pass "distill:width=0.5,$short" --require accuracy.min=0.5 -o "$WORK/half.onnx" --report "$WORK/half.html"
check "with the plot of students" grep -q "<h3>Students</h3>" "$WORK/half.html"
mkdir "$WORK/given"
cp "$WORK/half.onnx" "$WORK/given/student.onnx"
for side in local remote; do
  server=()
  [[ $side == local ]] || server=(--server "127.0.0.1:$PORT")
  expect_code 0 "a given student, $side" "${distill[@]}" --student "$WORK/given/student.onnx" --pass "distill:$short" \
    --require accuracy.min=0.5 -o "$WORK/given.$side.onnx" "${server[@]}"
done
check "same bytes" same_bytes "$WORK/given.local.onnx" "$WORK/given.remote.onnx"
expect_code 3 "a student without a step that trains it" modelpress compress "$MODEL" --student "$WORK/given/student.onnx" \
  --pass simplify -o "$WORK/x.onnx"
check "the reason is told" stderr_has RECIPE_INVALID

expect_code 0 "outputs told to be embeddings" "${distill[@]}" --pass "distill:width=0.5,$short,training.outputs.kind=embedding" \
  --require cosine.min=0.5 -o "$WORK/embedding.onnx" --report "$WORK/embedding.json"
check "are judged by the cosine" test "$(report "$WORK/embedding.json" 'p["students"][1]["after"][0]["metric"]')" = cosine
expect_code 3 "an output that there is not" "${distill[@]}" -o "$WORK/x.onnx" \
  --pass "distill:width=0.5,training.outputs.output=nothing,training.outputs.kind=values"
check "the outputs are named" stderr_has "the float32 outputs are"

expect_code 4 "a requirement that none meets" "${distill[@]}" --pass "distill:max_students=1,$short" --require sqnr_db.min=90 \
  -o "$WORK/missed.onnx" --report "$WORK/missed.json"
check "no file" test ! -e "$WORK/missed.onnx"
check "the curve is in the report" test "$(report "$WORK/missed.json" 'len(p["students"])')" = 2
cat >"$WORK/best.yaml" <<'YAML'
passes:
  - distill: {max_students: 1, keep_best: true, training: {steps: 120}, bounds: [{metric: sqnr_db, min: 90}]}
YAML
expect_code 0 "the best one all the same" "${distill[@]}" -o "$WORK/best.onnx" --recipe "$WORK/best.yaml"

# A script's background jobs ignore SIGINT; the signal's action is set anew in between.
python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
  "${distill[@]}" --pass "distill:width=0.7,training.steps=20000" --require sqnr_db.min=90 -o "$WORK/cancelled.onnx" \
  --report "$WORK/cancelled.json" --server "127.0.0.1:$PORT" >"$WORK/cancelled.log" 2>&1 &
job=$!
check "it trains" wait_for 120 grep -q "student 1, width 0.7 (.* parameters): step [0-9]* of" "$WORK/cancelled.log"
kill -INT "$job"
wait "$job"
status=$?
check "it is cancelled (exit $status)" test "$status" -eq 6
check "the trainer ends with it" wait_for 10 bash -c "! pgrep -f '^$programs/modelpress-trainer --train'"
check "no file" test ! -e "$WORK/cancelled.onnx"
finish
