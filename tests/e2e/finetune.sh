#!/usr/bin/env bash
# Training what a pruned model lost, locally and remotely; cancelling; a trainer that is killed; a server that is told to
# stop; no trainer at all.
source "$(dirname "$0")/lib.sh"

programs=$(dirname "$(command -v modelpress)")
if [[ ! -x $programs/modelpress-trainer ]]; then
  expect_code 3 "without a trainer" modelpress compress "$MODEL" -o "$WORK/x.onnx" --data "$DATA" --pass finetune
  check "the reason is told" stderr_has TRAINER_MISSING
  finish
  exit
fi
# The servers' trainers are met in the middle of their work; see held_trainer.py.
mkdir "$WORK/bin" "$WORK/plan"
cp "$programs/modelpressd" "$WORK/bin/modelpressd"
cp "$HERE/held_trainer.py" "$WORK/bin/modelpress-trainer"
export REAL_TRAINER=$programs/modelpress-trainer TRAINER_PLAN=$WORK/plan
PATH=$WORK/bin:$PATH start_server one 0
one=127.0.0.1:$PORT

train=(modelpress compress "$MODEL" --data "$DATA" --pass prune_magnitude:sparsity_per_tensor=0.8)
steps=(--pass finetune:training.steps=200,training.learning_rate=0.003)
accuracy() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); print(r.get("report", r)["judgement"]["artifact"]["accuracy"])' "$1"; }

expect_code 0 "pruned alone" "${train[@]}" -o "$WORK/pruned.onnx" --report "$WORK/pruned.json"
expect_code 0 "finetune, local" "${train[@]}" "${steps[@]}" -o "$WORK/local.onnx" --report "$WORK/local.json"
check "the curve is in the report" grep -q "validation loss" "$WORK/stdout"
check "it decides better than before" python3 -c 'import sys; sys.exit(not float(sys.argv[2]) > float(sys.argv[1]))' \
  "$(accuracy "$WORK/pruned.json")" "$(accuracy "$WORK/local.json")"
expect_code 0 "finetune, remote" "${train[@]}" "${steps[@]}" -o "$WORK/remote.onnx" --server "$one"
check "same bytes" same_bytes "$WORK/local.onnx" "$WORK/remote.onnx"

# A trainer that is killed after its third checkpoint, on the way to the fourth.
echo 3 >"$WORK/plan/kill"
expect_code 0 "a trainer is killed" "${train[@]}" "${steps[@]}" -o "$WORK/killed.onnx" --report "$WORK/killed.json" \
  --server "$one"
check "it was" test -e "$WORK/plan/kill.taken"
check "the job goes on to the same bytes" same_bytes "$WORK/local.onnx" "$WORK/killed.onnx"
check "which the report says" grep -q '"restarts"' "$WORK/killed.json"

# train_held NAME SERVER ARGUMENTS...: a job in the background whose trainer has written a checkpoint and is stopped there,
# unless "go" says otherwise already; sets CLIENT and TRAINER. A script's background jobs ignore SIGINT; the signal's action
# is set anew in between.
train_held() {
  local name=$1 server=$2
  shift 2
  rm -f "$WORK/plan/held"
  echo 1 >"$WORK/plan/hold"
  python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
    "${train[@]}" "$@" -o "$WORK/$name.onnx" --server "$server" >"$WORK/$name.log" 2>&1 &
  CLIENT=$!
  check "$name: it trains" wait_for 300 test -e "$WORK/plan/held"
  TRAINER=$(cat "$WORK/plan/held")
}
# ends_with CODE PID: the exit code of a job in the background.
ends_with() {
  wait "$2"
  local got=$?
  ((got == $1)) || { echo "exit $got, expected $1"; return 1; }
}
gone() { ! kill -0 "$1" 2>/dev/null; }
# Far more than any machine does in the time of this test.
endless=(--pass finetune:training.steps=10000000,training.evaluate_every=1000000)

touch "$WORK/plan/go"
train_held cancelled "$one" "${endless[@]}"
kill -INT "$CLIENT"
check "it is cancelled" ends_with 6 "$CLIENT"
check "the trainer ends with it" wait_for 10 gone "$TRAINER"
check "no file" test ! -e "$WORK/cancelled.onnx"

# A server that is told to stop lets a training end that ends in time,
DRAIN_SECONDS=300 PATH=$WORK/bin:$PATH start_server two 0
rm "$WORK/plan/go"
train_held drained "127.0.0.1:$PORT" "${steps[@]}"
kill -TERM "$SERVER_PID"
check "the drain is announced" wait_for 20 grep -q '"event":"drain' "$WORK/two.log"
touch "$WORK/plan/go"
check "the job ends well" ends_with 0 "$CLIENT"
check "drained: same bytes" same_bytes "$WORK/local.onnx" "$WORK/drained.onnx"
check "the server ends well" ends_with 0 "$SERVER_PID"

# and ends one that does not.
DRAIN_SECONDS=1 PATH=$WORK/bin:$PATH start_server three 0
train_held ended "127.0.0.1:$PORT" "${endless[@]}" --retry-seconds 1
kill -TERM "$SERVER_PID"
check "its client says that there is no server" ends_with 5 "$CLIENT"
check "and why" grep -q "the server shut down before the job was finished" "$WORK/ended.log"
check "the server ends" ends_with 0 "$SERVER_PID"
check "and the trainer with it" wait_for 10 gone "$TRAINER"
check "no file" test ! -e "$WORK/ended.onnx"
finish
