#!/usr/bin/env bash
# Connections that break, servers that stop, restart or are two: the user gets the file and at most a line.
source "$(dirname "$0")/lib.sh"
job=(modelpress compress "$MODEL" --pass quantize_weights:weights.min_elements=64 --data "$DATA")
expect_code 0 "reference" "${job[@]}" -o "$WORK/reference.onnx"
start_server one 0
one=$PORT

run_job() {  # NAME FLAGS...: the job must come out whole
  local name=$1
  shift
  expect_code 0 "$name" "${job[@]}" -o "$WORK/out.onnx" --force "$@"
  check "$name: same bytes" same_bytes "$WORK/reference.onnx" "$WORK/out.onnx"
  rm -f "$WORK/out.onnx"
}

start_proxy "$one" up 100000 cut 3
run_job "upload cut three times" --server "127.0.0.1:$PROXY_PORT"
check "upload cut: a line says so" stderr_has "connection lost; resuming"
start_proxy "$one" down 20000 cut 3
run_job "download cut three times" --server "127.0.0.1:$PROXY_PORT"
start_proxy "$one" down 300 cut 2
run_job "cut before anything is accepted" --server "127.0.0.1:$PROXY_PORT"

# Two servers behind one name: each reconnection may reach the one that does not have the job.
start_server two 0
two=$PORT
start_proxy "$one" up 60000 cut 2
cut_one=$PROXY_PORT
start_proxy "$two" up 60000 cut 2
for i in 1 2 3 4; do
  run_job "two servers behind one name, $i" --server "ipv4:127.0.0.1:$cut_one,127.0.0.1:$PROXY_PORT"
done

# A client that dies while its file comes down: the job is taken up by its id, at the address in it.
start_proxy "$one" down 20000 stall 1
: >"$WORK/one.log"
"${job[@]}" -o "$WORK/killed.onnx" --server "127.0.0.1:$PROXY_PORT" >/dev/null 2>&1 &
client=$!
check "the job ends while its client hangs" wait_for 60 grep -q '"event":"job_finished"' "$WORK/one.log"
kill -KILL "$client"
wait "$client" 2>/dev/null
id=$(sed -n 's/.*"event":"job_accepted".*"job_id":"\([^"]*\)".*/\1/p' "$WORK/one.log" | tail -n 1)
expect_code 0 "get by id" modelpress jobs get "$id"
expect_code 0 "attach by id, no server named" modelpress jobs attach "$id" -o "$WORK/attached.onnx"
check "attached: same bytes" same_bytes "$WORK/reference.onnx" "$WORK/attached.onnx"
finish
