#!/usr/bin/env bash
# ./dev demo: a real server, a trained model, a recipe with a promise; live progress and the honest table.
source "$(dirname "$0")/lib.sh"
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n%s\n' "$*"; }

cat >"$WORK/recipe.yaml" <<'Y'
passes:
  - quantize_weights: {type: int8, granularity: per_channel, weights: {min_elements: 64}}
quality:
  - {metric: accuracy, max_drop: 0.005}     # at most half a point
  - {metric: sqnr_db, min: 25}
Y

say "A server of its own on free loopback ports"
start_server demo 0
echo "modelpressd listens on 127.0.0.1:$PORT"
say "The recipe"
cat "$WORK/recipe.yaml"
say "The job: model and labelled samples go up, progress and the artifact come down"
echo "modelpress compress digits-cnn/model.onnx -o small.onnx --recipe recipe.yaml --data digits-cnn/data --server 127.0.0.1:$PORT"
modelpress compress "$MODEL" -o "$WORK/small.onnx" --recipe "$WORK/recipe.yaml" --data "$DATA" \
  --server "127.0.0.1:$PORT" || exit
say "What is in the artifact"
modelpress inspect "$WORK/small.onnx"
