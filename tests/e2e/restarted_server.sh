#!/usr/bin/env bash
# A server that is killed under a job and comes back knows nothing of it: the client submits again by itself.
source "$(dirname "$0")/lib.sh"
# Large enough to be caught in the act: the same model through many passes would be quick, its judging is not.
job=(modelpress compress "$MODEL" --pass quantize_weights:weights.min_elements=64 --data "$DATA")
expect_code 0 "reference" "${job[@]}" -o "$WORK/reference.onnx"

start_server first 0
port=$PORT first=$SERVER_PID
# Stopped, so that the job is certainly not finished when the server dies.
kill -STOP "$first"
"${job[@]}" -o "$WORK/out.onnx" --server "127.0.0.1:$port" >"$WORK/stdout" 2>"$WORK/stderr" &
client=$!
sleep 1
kill -CONT "$first"
wait_for 20 grep -q '"event":"job_accepted"' "$WORK/first.log"
kill -KILL "$first"
start_server second "$port"
wait "$client"
check "the client ends well" test $? -eq 0
check "same bytes" same_bytes "$WORK/reference.onnx" "$WORK/out.onnx"
finish
