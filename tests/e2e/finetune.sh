#!/usr/bin/env bash
# Training what a pruned model lost, locally and remotely; cancelling; a trainer that is killed; none at all.
source "$(dirname "$0")/lib.sh"

programs=$(dirname "$(command -v modelpress)")
if [[ ! -x $programs/modelpress-trainer ]]; then
  expect_code 3 "without a trainer" modelpress compress "$MODEL" -o "$WORK/x.onnx" --data "$DATA" --pass finetune
  check "the reason is told" stderr_has TRAINER_MISSING
  finish
  exit
fi
start_server one 0

train=(modelpress compress "$MODEL" --data "$DATA" --pass prune_magnitude:sparsity_per_tensor=0.8)
steps=(--pass finetune:training.steps=200,training.learning_rate=0.003)
accuracy() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); print(r.get("report", r)["judgement"]["artifact"]["accuracy"])' "$1"; }

expect_code 0 "pruned alone" "${train[@]}" -o "$WORK/pruned.onnx" --report "$WORK/pruned.json"
expect_code 0 "finetune, local" "${train[@]}" "${steps[@]}" -o "$WORK/local.onnx" --report "$WORK/local.json"
check "the curve is in the report" grep -q "validation loss" "$WORK/stdout"
check "it decides better than before" python3 -c 'import sys; sys.exit(not float(sys.argv[2]) > float(sys.argv[1]))' \
  "$(accuracy "$WORK/pruned.json")" "$(accuracy "$WORK/local.json")"
expect_code 0 "finetune, remote" "${train[@]}" "${steps[@]}" -o "$WORK/remote.onnx" --server "127.0.0.1:$PORT"
check "same bytes" same_bytes "$WORK/local.onnx" "$WORK/remote.onnx"

# Kills the trainer (a child of a worker of the server) once it has a checkpoint.
long=(--pass finetune:training.steps=1000,training.evaluate_every=50)
expect_code 0 "a long training" "${train[@]}" "${long[@]}" -o "$WORK/whole.onnx"
"${train[@]}" "${long[@]}" -o "$WORK/killed.onnx" --report "$WORK/killed.json" --server "127.0.0.1:$PORT" >"$WORK/killed.log" 2>&1 &
job=$!
check "it trains" wait_for 120 grep -q "finetune: step [0-9]*00 of" "$WORK/killed.log"
trainer=$(pgrep -f "^$programs/modelpress-trainer --train" | head -n 1)
check "there is a trainer" test -n "$trainer"
kill -KILL "$trainer"
wait "$job"
check "the job goes on to its end" test -s "$WORK/killed.onnx"
check "to the same bytes" same_bytes "$WORK/whole.onnx" "$WORK/killed.onnx"
check "which the report says" grep -q '"restarts"' "$WORK/killed.json"

# A script's background jobs ignore SIGINT; the signal's action is set anew in between.
python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
  "${train[@]}" --pass finetune:training.steps=3000,training.evaluate_every=1000 -o "$WORK/cancelled.onnx" \
  --server "127.0.0.1:$PORT" >"$WORK/cancelled.log" 2>&1 &
job=$!
check "it trains again" wait_for 120 grep -q "finetune: step [0-9]*00 of" "$WORK/cancelled.log"
kill -INT "$job"
wait "$job"
status=$?
check "it is cancelled (exit $status)" test "$status" -eq 6
check "the trainer ends with it" wait_for 10 bash -c "! pgrep -f '^$programs/modelpress-trainer --train'"
check "no file" test ! -e "$WORK/cancelled.onnx"
finish
