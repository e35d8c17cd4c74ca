#!/usr/bin/env bash
# The exit codes that scripts rely on, and what stands beside them.
source "$(dirname "$0")/lib.sh"
pass=(--pass quantize_weights:weights.min_elements=64)
compress=(modelpress compress "$MODEL" "${pass[@]}")

expect_code 0 "done" "${compress[@]}" -o "$WORK/out.onnx"
expect_code 0 "help" modelpress help compress
check "help has examples" grep -q "Examples:" "$WORK/stdout"
expect_code 0 "help alone" modelpress help
check "help names the environment" grep -q MODELPRESS_SERVER "$WORK/stdout"
expect_code 0 "no arguments print help" modelpress
expect_code 0 "version" modelpress version

expect_code 2 "unknown verb" modelpress comprss
check "the nearest verb is named" stderr_has 'did you mean "compress"'
expect_code 2 "unknown verb below jobs" modelpress jobs lst
check "the nearest is named below jobs" stderr_has 'did you mean "list"'
expect_code 2 "unknown flag" "${compress[@]}" -o "$WORK/a.onnx" --frobnicate
expect_code 2 "no model" modelpress compress -o "$WORK/a.onnx"
expect_code 2 "no output" "${compress[@]}"
expect_code 2 "no pass" modelpress compress "$MODEL" -o "$WORK/a.onnx"
expect_code 2 "missing model" modelpress compress "$WORK/none.onnx" -o "$WORK/a.onnx" "${pass[@]}"
check "the error names the file" stderr_has none.onnx
expect_code 2 "missing recipe" modelpress compress "$MODEL" -o "$WORK/a.onnx" --recipe "$WORK/none.yaml"
expect_code 2 "output exists" "${compress[@]}" -o "$WORK/out.onnx"
check "the reason is OUTPUT_EXISTS" stderr_has OUTPUT_EXISTS
check "the way out is named" stderr_has "--force"
expect_code 0 "output exists, forced" "${compress[@]}" -o "$WORK/out.onnx" --force
expect_code 2 "missing folder" "${compress[@]}" -o "$WORK/none/out.onnx"
expect_code 2 "output is a folder" "${compress[@]}" -o "$WORK"
if ((EUID != 0)); then
  mkdir -m 555 "$WORK/locked"
  expect_code 2 "unwritable folder" "${compress[@]}" -o "$WORK/locked/out.onnx"
else
  # Root may write anywhere but into what is no file system to write to.
  expect_code 2 "unwritable folder" "${compress[@]}" -o /proc/out.onnx
fi
expect_code 2 "jobs without a server" modelpress jobs list

head -c 2000 "$MODEL" >"$WORK/cut.onnx"
expect_code 3 "truncated model" modelpress compress "$WORK/cut.onnx" -o "$WORK/a.onnx" "${pass[@]}"
check "what to do is said" stderr_has "what to do:"
echo "hello" >"$WORK/text.onnx"
expect_code 3 "no model at all" modelpress compress "$WORK/text.onnx" -o "$WORK/a.onnx" "${pass[@]}"
expect_code 3 "unknown pass" modelpress compress "$MODEL" -o "$WORK/a.onnx" --pass quantise_weights
check "the nearest pass is named" stderr_has quantize_weights
expect_code 3 "unknown option" modelpress compress "$MODEL" -o "$WORK/a.onnx" --pass quantize_weights:granularty=per_tensor
expect_code 3 "bound of no metric" "${compress[@]}" -o "$WORK/a.onnx" --require acuracy.min=0.5
mkdir -p "$WORK/data"
echo "no array" >"$WORK/data/input.npy"
expect_code 3 "bad data" "${compress[@]}" -o "$WORK/a.onnx" --data "$WORK/data"
expect_code 3 "nothing to change" modelpress compress "$MODEL" -o "$WORK/a.onnx" --pass quantize_weights:weights.min_elements=1000000

expect_code 4 "missed bound" "${compress[@]}" -o "$WORK/a.onnx" --data "$DATA" --require sqnr_db.min=200
check "the report comes all the same" grep -q "MISSED" "$WORK/stdout"
check "no artifact after a missed bound" test ! -e "$WORK/a.onnx"
expect_code 4 "verify misses its bound" modelpress verify "$MODEL" "$WORK/out.onnx" --require sqnr_db.min=200
expect_code 0 "verify of a model with itself" modelpress verify "$MODEL" "$MODEL" --data "$DATA" --require agreement.min=1

expect_code 6 "the deadline passes" "${compress[@]}" -o "$WORK/a.onnx" --deadline 0.000001
check "the reason is JOB_DEADLINE" stderr_has JOB_DEADLINE
expect_code 0 "the deadline is far" "${compress[@]}" -o "$WORK/far.onnx" --deadline 1e12
expect_code 5 "nobody there" "${compress[@]}" -o "$WORK/a.onnx" --server 127.0.0.1:1 --retry-seconds 1
check "the reason is SERVER_UNREACHABLE" stderr_has SERVER_UNREACHABLE
check "nothing hidden is left" no_leftovers "$WORK"

# The same errors by way of a server.
start_server one 0
remote=(--server "127.0.0.1:$PORT")
expect_code 3 "truncated model, remote" modelpress compress "$WORK/cut.onnx" -o "$WORK/a.onnx" "${pass[@]}" "${remote[@]}"
expect_code 4 "missed bound, remote" "${compress[@]}" -o "$WORK/a.onnx" --data "$DATA" --require sqnr_db.min=200 "${remote[@]}"
expect_code 3 "nothing to change, remote" modelpress compress "$MODEL" -o "$WORK/a.onnx" \
  --pass quantize_weights:weights.min_elements=1000000 "${remote[@]}"
expect_code 6 "the deadline passes, remote" "${compress[@]}" -o "$WORK/a.onnx" --deadline 0.000001 "${remote[@]}"
expect_code 2 "unknown job" modelpress jobs get "nobody@127.0.0.1:$PORT"
expect_code 0 "inspect" modelpress inspect "$MODEL"
expect_code 0 "inspect as JSON" modelpress inspect "$MODEL" --json
check "JSON it is" python3 -c "import json; assert json.load(open('$WORK/stdout'))['weights']"
for shell in bash zsh; do expect_code 0 "completion $shell" modelpress completion "$shell"; done
# shellcheck disable=SC2016  # the inner shell expands it
expect_code 0 "the bash completion works" bash -c '
  eval "$(modelpress completion bash)"
  COMP_WORDS=(modelpress jobs at) COMP_CWORD=2; _modelpress; [[ ${COMPREPLY[*]} == attach ]] || exit 1
  COMP_WORDS=(modelpress compress --forc) COMP_CWORD=2; _modelpress; [[ ${COMPREPLY[*]} == --force ]]'
finish
