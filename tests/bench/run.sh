#!/usr/bin/env bash
# Measures every bar of the project in one run and prints each as a ratio against its limit (memcpy, cp and digest, raw
# gRPC transfer). Nothing is asserted: read the table.
#
#   tests/bench/run.sh [SECTION...]      kernel big memory conversion remote workers cancel digest calibration (default: all)
#   tests/bench/run.sh training          a training step against libtorch's own C++ (build training_step_bench first)
#   tests/bench/run.sh models DIR...     every model under these folders through every pass, see all_models.py
#   tests/bench/run.sh peers MODEL DATA  beside ONNX Runtime's own quantizer, see peers.py (fetches it from PyPI once)
#   tests/bench/run.sh lowbit [DIR]      weights in few bits: large models, GPTQ beside BLAS (where python3 has numpy), and
#                                        the language model in DIR, see low_bit.py
#
# BENCH_DIR: where the big models are made (5 GB), default a temporary folder. Needs the release build.
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$repo/build/release/bin
if [ "${1:-}" = models ]; then
  shift
  PATH=$bin:$PATH exec python3 "$repo/tests/bench/all_models.py" "$@"
fi
if [ "${1:-}" = peers ]; then
  shift
  environment=${BENCH_DIR:-${TMPDIR:-/tmp}/modelpress-bench}/peers
  "$environment/bin/python" -c 'import onnx, onnxruntime' 2>/dev/null || python3 "$repo/tests/bench/peers.py" --make-environment "$environment"
  PATH=$bin:$PATH exec "$environment/bin/python" "$repo/tests/bench/peers.py" "$@"
fi
language_model=
if [ "${1:-}" = lowbit ]; then
  language_model=${2:-}
  set -- lowbit
fi
work=${BENCH_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/modelpress-bench.XXXXXX")}
mkdir -p "$work"
export TMPDIR=$work
server_pid=
stop_server() {
  [ -z "$server_pid" ] || { kill "$server_pid" 2>/dev/null; wait "$server_pid" 2>/dev/null || true; }
  server_pid=
}
cleanup() {
  stop_server
  [ -n "${BENCH_DIR:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

row() { printf '%-58s %10s %10s  %s\n' "$@"; }
# seconds CMD...: wall time of a command, its output dropped.
seconds() {
  local start end
  start=$(date +%s.%N)
  "$@" >"$work/out.log" 2>&1 || { cat "$work/out.log" >&2; return 1; }
  end=$(date +%s.%N)
  calculate "$end - $start"
}
# median N CMD...: median wall seconds of N runs.
median() {
  local n=$1
  shift
  for ((i = 0; i < n; i++)); do seconds "$@"; done | sort -n | sed -n "$(((n + 1) / 2))p"
}
calculate() { awk "BEGIN { printf \"%.3f\\n\", $1 }"; }
ratio() { calculate "$1 / $2"; }
fixed() { printf '%.2f' "$1"; }

big_model() {
  [ -f "$work/big1.onnx" ] || "$bin/make_big_model" "$work/big1.onnx" 1024
  cat "$work/big1.onnx" >/dev/null
}
quantize() {
  "$bin/modelpress" compress "$1" -o "$2" --pass quantize_weights --gate structure --force "${@:3}"
}
cp_and_digest() {
  rm -f "$work/copy"
  cp "$work/big1.onnx" "$work/copy"
  openssl dgst -sha256 "$work/big1.onnx"
}
start_server() {
  # Emptied here: the log of the server before has its address.
  address=
  : >"$work/server.log"
  "$bin/modelpressd" --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --scratch "$work/scratch" "$@" 2>"$work/server.log" &
  server_pid=$!
  for _ in $(seq 100); do
    address=$(sed -n 's/.*"listen":"\([^"]*\)".*/\1/p' "$work/server.log" | head -1)
    [ -z "$address" ] || return 0
    sleep 0.1
  done
  cat "$work/server.log" >&2
  return 1
}
# peak_anonymous PID FILE: writes the largest RssAnon (KiB) of a process to FILE until it ends.
peak_anonymous() {
  local most=0 now
  while now=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status" 2>/dev/null) && [ -n "$now" ]; do
    [ "$now" -le "$most" ] || { most=$now; echo "$most" >"$2"; }
    sleep 0.02
  done
}

section_kernel() { "$bin/quantize_bench"; }

section_big() {
  big_model
  local limit ours
  limit=$(median 5 cp_and_digest)
  ours=$(median 5 quantize "$work/big1.onnx" "$work/out.onnx")
  row "compress 1 GB, structure gate, against cp + sha256" "$(ratio "$ours" "$limit")" "<= 1.2" \
    "$(fixed "$ours") s against $(fixed "$limit") s (with syncing)"
  row "  of which syncing, from the last run's table" "" "" "$(grep -o 'sync [^,]*' "$work/out.log" || true)"
}

section_memory() {
  [ -f "$work/big3.onnx" ] || "$bin/make_big_model" "$work/big3.onnx" 3072 --sidecar
  "$bin/modelpress" compress "$work/big3.onnx" -o "$work/out3.onnx" --pass quantize_weights --gate structure --force \
    >"$work/out.log" 2>&1 &
  local pid=$!
  peak_anonymous "$pid" "$work/peak"
  wait "$pid"
  row "peak anonymous memory, 3 GB model with sidecar (MiB)" "$(($(cat "$work/peak") / 1024))" "<= 256" ""
  rm -f "$work/out3.onnx" "$work"/weights-*.data
}

# cpu CMD...: user and system seconds of a command and its children, its output dropped.
cpu() {
  local TIMEFORMAT='%U %S'
  { time "$@" >"$work/out.log" 2>&1; } 2>&1 | awk '{ print $1 + $2 }'
}
copy_file() {
  rm -f "$work/copy"
  cat "$1" >"$work/copy"
}
digest_both() { openssl dgst -sha256 "$1" "$2"; }
convert_file() {
  rm -f "$2"
  "$bin/modelpress" convert "$1" -o "$2" --layout inline "${@:3}"
}
middle() { sort -n | sed -n "$((($1 + 1) / 2))p"; }

# Files whose weights change their layout (.tflite) and that keep it (.pt2, safetensors).
section_conversion() {
  local megabytes=100 runs=5 kind from to gate bytes
  [ -f "$work/filled.tflite" ] || python3 "$repo/tests/bench/make_sparse_weights.py" "$work" --filled $megabytes
  for kind in tflite pt2 safetensors; do
    from=$work/filled.$kind
    to=$work/converted.onnx
    [ $kind != safetensors ] || to=$work/converted.safetensors
    bytes=$(stat -c %s "$from")
    for gate in structure full; do
      local copies=() digests=() conversions=() ratios=() with_digests=()
      for ((i = 0; i < runs; i++)); do
        copies+=("$(cpu copy_file "$from")")
        conversions+=("$(cpu convert_file "$from" "$to" --gate $gate)")
        digests+=("$(cpu digest_both "$from" "$to")")
        ratios+=("$(ratio "${conversions[-1]}" "${copies[-1]}")")
        with_digests+=("$(ratio "${conversions[-1]}" "$(calculate "${copies[-1]} + ${digests[-1]}")")")
      done
      row "CPU time of converting a $kind file, gate: $gate, against cat" "$(printf '%s\n' "${ratios[@]}" | middle $runs)" "<= 3" \
        "$((bytes >> 20)) MiB, last: ${conversions[-1]} s against ${copies[-1]} s"
      row "  against cat and the SHA-256 of both files, which are reported" "$(printf '%s\n' "${with_digests[@]}" | middle $runs)" "" \
        "digests: ${digests[-1]} s"
    done
  done
  [ -f "$work/big.tflite" ] || python3 "$repo/tests/bench/make_sparse_weights.py" "$work" 3
  for kind in tflite pt2 safetensors; do
    to=$work/converted.onnx
    [ $kind != safetensors ] || to=$work/converted.safetensors
    "$bin/modelpress" convert "$work/big.$kind" -o "$to" --gate structure --force >"$work/out.log" 2>&1 &
    local pid=$!
    peak_anonymous "$pid" "$work/peak"
    wait "$pid"
    row "peak anonymous memory, converting a 3 GB $kind file (MiB)" "$(($(cat "$work/peak") / 1024))" "<= 256" ""
  done
  rm -f "$work"/big.{tflite,pt2,safetensors} "$work"/filled.{tflite,pt2,safetensors} "$work"/converted.* "$work"/weights-*.data
}

section_remote() {
  big_model
  start_server
  local local_time echo_time remote_time chunk=262144
  local artifact_bytes
  local_time=$(median 3 quantize "$work/big1.onnx" "$work/out.onnx")
  artifact_bytes=$(stat -c %s "$work/out.onnx")
  echo_time=$(median 3 "$bin/grpc_echo_bench" "$(stat -c %s "$work/big1.onnx")" "$artifact_bytes" "$chunk")
  remote_time=$(median 3 quantize "$work/big1.onnx" "$work/out.onnx" --server "$address")
  row "remote job of 1 GB against raw echo + local job" \
    "$(ratio "$remote_time" "$(calculate "$echo_time + $local_time")")" "<= 1.25" \
    "$(fixed "$remote_time") s against $(fixed "$echo_time") + $(fixed "$local_time") s"
  stop_server
}

section_workers() {
  big_model
  start_server --workers 4 --threads-per-worker 1
  local main=$server_pid pids=()
  peak_anonymous "$main" "$work/peak.server" &
  for i in 1 2 3 4; do
    quantize "$work/big1.onnx" "$work/out$i.onnx" --server "$address" >"$work/job$i.log" 2>&1 &
    pids+=($!)
  done
  local seen=" "
  while kill -0 "${pids[@]}" 2>/dev/null; do
    for worker in $(pgrep -P "$main" || true); do
      [[ $seen == *" $worker "* ]] || {
        seen+="$worker "
        peak_anonymous "$worker" "$work/peak.worker.$worker" &
      }
    done
    sleep 0.05
  done
  wait "${pids[@]}"
  row "anonymous memory of the server, 4 such jobs at once (MiB)" "$(($(cat "$work/peak.server") / 1024))" "<= 128" ""
  row "anonymous memory of the largest worker (MiB)" "$(($(cat "$work"/peak.worker.* | sort -n | tail -1) / 1024))" \
    "<= 256" "$(cat "$work"/peak.worker.* | wc -l) workers seen"
  stop_server
  rm -f "$work"/out[1-4].onnx "$work"/peak.worker.*
}

# The server must be free of the worker a second after cancelling, wherever the job is.
section_cancel() {
  big_model
  start_server
  local delay
  for delay in 0.3 1 2 4 6 8 12; do
    "$bin/modelpress" compress "$work/big1.onnx" -o "$work/cancelled.onnx" --pass quantize_weights --force \
      --server "$address" >"$work/cancel.log" 2>&1 &
    local client=$!
    for _ in $(seq 600); do
      [ -z "$(pgrep -P "$server_pid" || true)" ] || break
      sleep 0.02
    done
    sleep "$delay"
    local phase start end
    phase=$("$bin/modelpress" jobs list --server "$address" --json | sed -n 's/.*"phase": *"\([^"]*\)".*/\1/p' | head -1)
    local job
    job=$("$bin/modelpress" jobs list --server "$address" --json | sed -n 's/.*"job_\?[iI]d": *"\([^"]*\)".*/\1/p' | head -1)
    start=$(date +%s.%N)
    "$bin/modelpress" jobs cancel "$job" --server "$address" >/dev/null 2>&1 || true
    while [ -n "$(pgrep -P "$server_pid" || true)" ]; do sleep 0.01; done
    end=$(date +%s.%N)
    wait "$client" || true
    row "cancel to worker gone, ${delay} s into the job (s)" "$(calculate "$end - $start")" "<= 1" "in phase $phase"
  done
  stop_server
}

section_digest() {
  local model=$repo/tests/models/digits-cnn/model.onnx
  local options=(--pass quantize_weights:weights.min_elements=16 --gate structure --force)
  start_server
  local digests
  seconds "$bin/modelpress" compress "$model" -o "$work/a.onnx" "${options[@]}" --threads 1 >/dev/null
  seconds "$bin/modelpress" compress "$model" -o "$work/b.onnx" "${options[@]}" --threads 4 >/dev/null
  seconds "$bin/modelpress" compress "$model" -o "$work/c.onnx" "${options[@]}" --server "$address" >/dev/null
  digests=$(cd "$work" && sha256sum a.onnx b.onnx c.onnx | cut -d' ' -f1 | sort -u | wc -l)
  row "different results of 1 thread, 4 threads, remote" "$digests" "1" "the asan build: a unit test holds digests"
  stop_server
}

section_lowbit() {
  local rows=16384 ours blas python=${PYTHON:-python3}
  [ -z "$language_model" ] || PATH=$bin:$PATH python3 "$repo/tests/bench/low_bit.py" language-model "$language_model"
  PATH=$bin:$PATH python3 "$repo/tests/bench/low_bit.py" large "$work"
  "$bin/gptq_bench" "$rows" | tee "$work/gptq.log"
  ours=$(sed -n 's/^sum \([0-9.]*\) s$/\1/p' "$work/gptq.log")
  if "$python" -c 'import numpy' 2>/dev/null; then
    "$python" "$repo/tests/bench/blas_bench.py" "$rows" | tee "$work/blas.log"
    blas=$(sed -n 's/^sum \([0-9.]*\) s$/\1/p' "$work/blas.log")
    row "GPTQ of one block, CPU time against its BLAS calls" "$(ratio "$ours" "$blas")" "<= 1.5" "$ours s against $blas s"
  else
    row "GPTQ of one block, CPU seconds" "$ours" "" "set PYTHON to one with numpy to compare with BLAS"
  fi
}

# Model and data of the caller's choice instead of a small net on synthetic pictures: CALIBRATION_MODEL and
# CALIBRATION_DATA.
calibration() { "$bin/calibration_bench" "$@" ${CALIBRATION_MODEL:+"$CALIBRATION_MODEL" "$CALIBRATION_DATA"}; }
section_calibration() {
  local few=16 many=512 mode plain one
  read -r _ one < <(calibration forwards 1)
  for mode in minmax percentile entropy; do
    local few_kib many_kib
    read -r _ few_kib < <(calibration "$mode" $few)
    read -r _ many_kib < <(calibration "$mode" $many)
    row "calibration memory, $many samples against $few, $mode" "$(ratio "$many_kib" "$few_kib")" "<= 1.05" \
      "$((many_kib / 1024)) MiB against $((few_kib / 1024)) MiB"
    row "  above the runtime's own for one sample, $mode (MiB)" "$(((many_kib - one) / 1024))" "<= 64" ""
  done
  for mode in minmax percentile; do
    # In turns, the median of five.
    local ratios=() plain_seconds seconds
    for _ in 1 2 3 4 5; do
      read -r plain_seconds _ < <(calibration forwards 33)
      read -r seconds _ < <(calibration "$mode" 33)
      ratios+=("$(ratio "$seconds" "$plain_seconds")")
    done
    row "calibration CPU time against the same forwards, $mode" \
      "$(printf '%s\n' "${ratios[@]}" | sort -n | sed -n 3p)" \
      "$([ "$mode" = minmax ] && echo '<= 1.4' || echo '<= 2')" "last: $seconds s against $plain_seconds s"
  done
}

section_training() { "$bin/training_step_bench"; }

row "what" "measured" "bar" "details"
[ $# -gt 0 ] || set -- kernel big memory conversion remote workers cancel digest calibration
for section; do
  "section_$section"
done
