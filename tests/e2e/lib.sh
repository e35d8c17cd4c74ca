# What the end-to-end tests share: a folder of their own, servers on free loopback ports, checks that say what failed.
# Sourced by scripts; the programs are on PATH (ctest puts them there).
# shellcheck shell=bash disable=SC2034  # variables are for those that source this
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
MODELS=$(cd "$HERE/../models" && pwd -P)
MODEL=$MODELS/digits-cnn/model.onnx
DATA=$MODELS/digits-cnn/data
WORK=$(mktemp -d)
SERVERS=()  # process ids of everything started in the background
unset MODELPRESS_SERVER
failures=0

cleanup() {
  local pid
  for pid in "${SERVERS[@]}"; do
    kill -CONT "$pid"
    kill -KILL "$pid"
  done 2>/dev/null
  wait 2>/dev/null
  rm -rf "$WORK"
}
trap cleanup EXIT

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# start_server NAME PORT [FLAGS...]: PORT 0 is a free one; sets PORT and SERVER_PID; its log is $WORK/NAME.log.
start_server() {
  local name=$1 port=$2 log=$WORK/$1.log
  shift 2
  : >"$log"
  modelpressd --listen "127.0.0.1:$port" --metrics 127.0.0.1:0 --scratch "$WORK/$name.scratch" \
    --drain-delay-seconds 0 --drain-seconds "${DRAIN_SECONDS:-10}" "$@" 2>"$log" &
  SERVER_PID=$!
  SERVERS+=("$SERVER_PID")
  if ! wait_for 60 grep -q '"event":"server_started"' "$log"; then
    echo "the server did not start:" >&2
    cat "$log" >&2
    exit 1
  fi
  PORT=$(sed -n 's/.*"event":"server_started","listen":"[^"]*:\([0-9]*\)".*/\1/p' "$log" | head -n 1)
}

# start_proxy PORT ARGUMENTS...: sets PROXY_PORT.
start_proxy() {
  local out=$WORK/proxy.$RANDOM
  fault_proxy "$@" >"$out" &
  SERVERS+=("$!")
  wait_for 20 test -s "$out" || { echo "the proxy did not start" >&2; exit 1; }
  PROXY_PORT=$(cat "$out")
}

# check DESCRIPTION COMMAND...
check() {
  local what=$1
  shift
  if "$@"; then
    echo "ok      $what"
  else
    echo "FAILED  $what"
    failures=$((failures + 1))
  fi
}

# expect_code CODE DESCRIPTION COMMAND...: the exit code, with what the command printed if it differs.
expect_code() {
  local want=$1 what=$2 got
  shift 2
  "$@" >"$WORK/stdout" 2>"$WORK/stderr"
  got=$?
  if ((got == want)); then
    echo "ok      $what: exit $got"
  else
    echo "FAILED  $what: exit $got, expected $want"
    sed 's/^/        /' "$WORK/stderr" "$WORK/stdout"
    failures=$((failures + 1))
  fi
}

same_bytes() { cmp -s "$1" "$2"; }
stderr_has() { grep -q -- "$1" "$WORK/stderr"; }
# Nothing hidden was left beside the outputs.
no_leftovers() { [[ -z $(find "$1" -name '.*' -mindepth 1 -print -quit) ]]; }

finish() {
  ((failures == 0)) || { echo "$failures checks failed"; exit 1; }
  echo "all checks passed"
}
