#!/usr/bin/env bash
# Two servers behind one name: everything about a job reaches the server that has it; one is killed under a job, one
# drains while a job runs.
source "$(dirname "$0")/lib.sh"
job=(modelpress compress "$MODEL" --pass quantize_weights:weights.min_elements=64 --data "$DATA")
expect_code 0 "reference" "${job[@]}" -o "$WORK/reference.onnx"

worker_of() { pgrep -P "$1" | head -n 1; }
accepted() { grep -c '"event":"job_accepted"' "$WORK/$1.log"; }
last_job() { sed -n 's/.*"event":"job_accepted".*"job_id":"\([^"]*\)".*/\1/p' "$WORK/$1.log" | tail -n 1; }
stderr_of() { grep -q -- "$2" "$WORK/$1.stderr"; }

# submit NAME SERVER...: a job in the background; sets CLIENT.
submit() {
  local name=$1
  shift
  "${job[@]}" -o "$WORK/$name.onnx" --server "$@" >"$WORK/$name.stdout" 2>"$WORK/$name.stderr" &
  CLIENT=$!
}
# held NAME SERVER_NAME SERVER_PID TARGET: a job at that server whose worker is stopped, so that it certainly runs until
# it is let go. Sets CLIENT, WORKER and ID. What the target's name leads to another server ends there, and another one is sent.
held() {
  local name=$1 server=$2 pid=$3 target=$4 before try
  for try in $(seq 40); do
    before=$(accepted "$server")
    submit "$name" "$target"
    WORKER=
    while [[ -z $WORKER ]] && kill -0 "$CLIENT" 2>/dev/null; do WORKER=$(worker_of "$pid"); done
    if [[ -n $WORKER ]] && kill -STOP "$WORKER" 2>/dev/null; then
      sleep 0.3
      if kill -0 "$CLIENT" 2>/dev/null && (($(accepted "$server") > before)); then
        ID=$(last_job "$server")
        return 0
      fi
      kill -CONT "$WORKER" 2>/dev/null
    fi
    wait "$CLIENT"
    rm -f "$WORK/$name.onnx"
  done
  echo "no job was caught at server $server in $try tries" >&2
  exit 1
}
ends_with() {  # CODE PID: the client's exit code
  wait "$2"
  local got=$?
  ((got == $1)) || { echo "exit $got, expected $1"; return 1; }
}
gone() { ! kill -0 "$1" 2>/dev/null; }

start_server one 0 --workers 2
one=$PORT one_pid=$SERVER_PID
DRAIN_SECONDS=300 start_server two 0 --workers 2
two=$PORT two_pid=$SERVER_PID
name=ipv4:127.0.0.1:$one,127.0.0.1:$two

# Whoever the name leads to, the id knows better.
held first one "$one_pid" "$name"
first=$CLIENT first_worker=$WORKER first_id=$ID
held second two "$two_pid" "$name"
second=$CLIENT second_worker=$WORKER second_id=$ID
for i in 1 2 3; do
  expect_code 0 "get the first, $i" modelpress jobs get "$first_id" --server "$name"
  check "it runs" grep -q RUNNING "$WORK/stdout"
  expect_code 0 "get the second, $i" modelpress jobs get "$second_id" --server "$name"
  check "it runs" grep -q RUNNING "$WORK/stdout"
done
expect_code 0 "cancel the first" modelpress jobs cancel "$first_id" --server "$name"
check "its client says cancelled" ends_with 6 "$first"
check "its worker is gone" wait_for 5 gone "$first_worker"
check "the second runs on" kill -0 "$second_worker"

# Its client goes, another one takes it up.
kill -KILL "$second"
wait "$second" 2>/dev/null
kill -CONT "$second_worker"
expect_code 0 "attach to the second" modelpress jobs attach "$second_id" -o "$WORK/attached.onnx" --server "$name"
check "attached: same bytes" same_bytes "$WORK/reference.onnx" "$WORK/attached.onnx"

# A server that dies under a job: the client goes to the other one by itself.
held lost one "$one_pid" "$name"
kill -KILL "$one_pid"
check "the client of the killed server ends well" ends_with 0 "$CLIENT"
check "it says that it submits again" stderr_of lost "submitting"
check "lost: same bytes" same_bytes "$WORK/reference.onnx" "$WORK/lost.onnx"
check "the worker dies with its server" wait_for 5 gone "$WORKER"

# A server that drains: its job ends, it is still asked about it, and new jobs go to the other one.
start_server three "$one" --workers 2
held draining two "$two_pid" "$name"
kill -TERM "$two_pid"
check "the drain is announced" wait_for 10 grep -q '"event":"drain' "$WORK/two.log"
expect_code 0 "get while it drains" modelpress jobs get "$ID" --server "$name"
check "it runs" grep -q RUNNING "$WORK/stdout"
for i in 1 2 3; do
  expect_code 0 "a new job meanwhile, $i" "${job[@]}" -o "$WORK/new.onnx" --force --server "$name"
  check "new: same bytes" same_bytes "$WORK/reference.onnx" "$WORK/new.onnx"
done
expect_code 5 "the draining server itself refuses" "${job[@]}" -o "$WORK/refused.onnx" --server "127.0.0.1:$two" \
  --retry-seconds 1
kill -CONT "$WORKER"
check "its client ends well" ends_with 0 "$CLIENT"
check "drained: same bytes" same_bytes "$WORK/reference.onnx" "$WORK/draining.onnx"
wait "$two_pid"
check "the server ends well" test $? -eq 0
finish
