#!/usr/bin/env bash
# Finding a recipe, locally and remotely, going on from a trail; and the layers worth protecting.
source "$(dirname "$0")/lib.sh"
start_server one 0

# Counts of the report of the only pass.
trail() {
  python3 - "$1" "$2" <<'P'
import json, sys
report = json.load(open(sys.argv[1]))
run = report.get("report", report)["passes"][0]
print({"rows": len(run["trail"]), "evaluations": run["evaluations"],
       "holds": sum(row["holds"] for row in run["trail"])}[sys.argv[2]])
P
}

tune=(modelpress tune "$MODEL" --data "$DATA" --require agreement.min=0.9)
expect_code 0 "tune, local" "${tune[@]}" -o "$WORK/local.onnx" --report "$WORK/local.json"
check "the table has the trail" grep -q "tried .*bytes" "$WORK/stdout"
check "more than one candidate was tried" test "$(trail "$WORK/local.json" rows)" -ge 2
check "one of them holds" test "$(trail "$WORK/local.json" holds)" -ge 1
check "the budget was kept" test "$(trail "$WORK/local.json" evaluations)" -le 40
check "it became smaller" test "$(stat -c %s "$WORK/local.onnx")" -lt "$(stat -c %s "$MODEL")"
expect_code 0 "tune, remote" "${tune[@]}" -o "$WORK/remote.onnx" --server "127.0.0.1:$PORT"
check "same bytes" same_bytes "$WORK/local.onnx" "$WORK/remote.onnx"

expect_code 0 "tune from a trail" "${tune[@]}" -o "$WORK/again.onnx" --resume "$WORK/local.json" --report "$WORK/again.json"
check "fewer runs of the samples" test "$(trail "$WORK/again.json" evaluations)" -lt "$(trail "$WORK/local.json" evaluations)"
expect_code 2 "a trail that is none" "${tune[@]}" -o "$WORK/x.onnx" --resume "$MODEL"
check "it is named" grep -q "no report of modelpress" "$WORK/stderr"

expect_code 4 "bounds that nothing keeps" modelpress tune "$MODEL" --data "$DATA" -o "$WORK/none.onnx" \
  --require sqnr_db.min=500 --report "$WORK/none.json"
check "the report has the trail all the same" test "$(trail "$WORK/none.json" rows)" -ge 2
check "no file" test ! -e "$WORK/none.onnx"

expect_code 0 "sensitivity" modelpress inspect "$MODEL" --sensitivity --data "$DATA" --samples 16
check "a row for all layers together" grep -q "^ *all of them" "$WORK/stdout"
expect_code 0 "sensitivity as JSON" modelpress inspect "$MODEL" --sensitivity --data "$DATA" --samples 16 --json
check "the costliest first" python3 - "$WORK/stdout" <<'P'
import json, sys
rows = [row["model_sqnr_db"] for row in json.load(open(sys.argv[1]))["sensitivity"]["layers"]]
assert len(rows) >= 2 and rows == sorted(rows), rows
P
expect_code 2 "options of --sensitivity alone" modelpress inspect "$MODEL" --samples 16
check "nothing hidden is left" no_leftovers "$WORK"
finish
