#!/usr/bin/env bash
# Ctrl-C in the middle of a job, here and on a server: exit 6, nothing left behind, the worker free.
source "$(dirname "$0")/lib.sh"
start_server one 0
export TMPDIR=$WORK/tmp
mkdir -p "$TMPDIR" "$WORK/out"

# A model of 256 MiB whose judging takes far longer than this test.
make_big_model "$WORK/large.onnx" 256

interrupt() {  # NAME FLAGS...
  local name=$1 status end
  shift
  # A script's background jobs ignore SIGINT; the signal's action is set anew in between.
  python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
    modelpress compress "$WORK/large.onnx" -o "$WORK/out/a.onnx" --pass quantize_weights "$@" \
    >"$WORK/stdout" 2>"$WORK/stderr" &
  local client=$!
  if ! wait_for 60 grep -q "$PHASE" "$WORK/stderr"; then
    echo "FAILED  $name: never reached $PHASE"
    cat "$WORK/stderr"
    failures=$((failures + 1))
  fi
  end=$((SECONDS + 8))
  kill -INT "$client"
  wait "$client"
  status=$?
  check "$name: exit 6 (got $status)" test "$status" -eq 6
  check "$name: within seconds" test "$SECONDS" -le "$end"
  check "$name: no output" test -z "$(ls -A "$WORK/out")"
  check "$name: no temporary files" test -z "$(ls -A "$TMPDIR")"
}

PHASE=quantize_weights interrupt "local, in a pass"
PHASE=judge interrupt "local, in the runtime"
PHASE=upload interrupt "remote, uploading" --server "127.0.0.1:$PORT"
PHASE=quantize_weights interrupt "remote, in a pass" --server "127.0.0.1:$PORT"
PHASE=judge interrupt "remote, in the runtime" --server "127.0.0.1:$PORT"
no_running_job() {
  modelpress jobs list --server "127.0.0.1:$PORT" | grep -vqE 'RUNNING|QUEUED' &&
    ! modelpress jobs list --server "127.0.0.1:$PORT" | grep -qE 'RUNNING|QUEUED'
}
check "the server has no running job" wait_for 5 no_running_job
finish
