#!/usr/bin/env bash
# Builds both images of the Dockerfile and runs them as a cluster would: read-only, without rights, as nobody in
# particular. modelpress compresses and refuses to train; modelpress-train trains.
#
# With docker or podman on the machine itself (./dev test starts it outside then) the image is built as anyone would.
# Elsewhere buildah builds it, from a base image made of a debootstrap tree, and podman runs it; that needs root.
# Exit code 77: neither can be had here.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
start=$SECONDS

say() { printf 'image_test: %s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }

work=$(mktemp -d)
container=''
cleanup() {
  if [[ -n $container ]]; then
    "${engine[@]}" logs "$container" >"$work/log" 2>&1 || true
    "${engine[@]}" rm --force --time 0 "$container" >/dev/null 2>&1 || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT

# --- An engine, the base image, the build -------------------------------------------------------------------------

prepare_buildah() {
  local storage=${MODELPRESS_CACHE:-/var/cache/modelpress}/containers options limits base tree folder
  mkdir -p "$storage"
  # The sandboxes that have no engine also tend to forbid raising limits, which both tools do by default.
  limits=(--ulimit nofile=4096:4096 --ulimit nproc=8192:8192)
  options=(--root "$storage/storage" --runroot "/run/modelpress-containers" --storage-driver overlay)
  export PODMAN_IGNORE_CGROUPSV1_WARNING=1 XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run}
  engine=(podman "${options[@]}" --runtime runc)
  if ! "${engine[@]}" info >/dev/null 2>&1; then
    options=("${options[@]/overlay/vfs}")
    engine=(podman "${options[@]}" --runtime runc)
  fi
  run_options=("${limits[@]}")

  base=docker.io/library/debian:trixie-slim
  if ! "${engine[@]}" image exists "$base"; then
    tree=${MODELPRESS_CACHE:-}/base-trixie.tar
    if [[ ! -e $tree ]]; then
      tree=$work/base.tar
      debootstrap --variant=minbase trixie "$work/base" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 15 "$work/debootstrap.log"; fail "debootstrap"; }
      tar --one-file-system -C "$work/base" -cf "$tree" .
      rm -rf --one-file-system "$work/base"
    fi
    "${engine[@]}" import "$tree" "$base" >/dev/null
  fi

  buildah=(buildah "${options[@]}" bud --isolation chroot --pull-never --layers "${limits[@]}")
  folder=$(ccache --get-config cache_dir 2>/dev/null || true)
  if [[ -d $folder ]]; then
    buildah+=(--volume "$folder:/var/cache/ccache-outside" --build-arg CCACHE_DIR=/var/cache/ccache-outside)
  fi
}

if [[ ${MODELPRESS_INSIDE:-} == docker || ${MODELPRESS_INSIDE:-} == podman ]]; then
  say "skipped: inside a container; ./dev test runs this test outside"
  exit 77
elif [[ -n ${IMAGE_TEST_ENGINE:-} ]]; then
  engine=("$IMAGE_TEST_ENGINE")
  run_options=()
  build() { DOCKER_BUILDKIT=1 "${engine[@]}" build --target "$1" --tag "$1:test" --file "$REPO/Dockerfile" "$REPO"; }
elif ((EUID == 0)) && command -v buildah podman runc >/dev/null; then
  prepare_buildah
  build() { "${buildah[@]}" --target "$1" --tag "$1:test" --file "$REPO/Dockerfile" "$REPO"; }
else
  say "skipped: needs an engine that answers, or root"
  exit 77
fi

# What it prints is of interest only when it fails.
for image in modelpress modelpress-train; do
  begun=$SECONDS
  build $image >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; fail "$image does not build"; }
  say "$image: built in $((SECONDS - begun)) s, $("${engine[@]}" image inspect --format '{{.Size}}' "$image:test" |
    awk '{ printf "%.0f MB", $1 / 1e6 }')"
done
if [[ -z ${IMAGE_TEST_ENGINE:-} ]]; then "${engine[@]}" image prune --force >/dev/null; fi  # the previous run's

confined=("${run_options[@]}" --network host --read-only --cap-drop ALL --security-opt no-new-privileges)
run() { "${engine[@]}" run --rm "${confined[@]}" "$@"; }

# --- What is in them ----------------------------------------------------------------------------------------------

for image in modelpress:test modelpress-train:test; do
  inspect() { "${engine[@]}" image inspect --format "$1" "$image"; }
  [[ $(inspect '{{.Config.User}}') == 65532:65532 ]] || fail "$image runs as $(inspect '{{.Config.User}}')"
  for label in title description version revision; do
    [[ -n $(inspect "{{index .Config.Labels \"org.opencontainers.image.$label\"}}") ]] || fail "$image has no label $label"
  done
  for shell in /bin/sh /bin/bash /usr/bin/apt-get; do
    if run --entrypoint "$shell" "$image" -c true >/dev/null 2>&1; then fail "$image has $shell"; fi
  done
  run --entrypoint /usr/bin/modelpress "$image" version >"$work/version" || fail "$image: modelpress version"
done

# --- Servers and jobs, with the image's own client ----------------------------------------------------------------

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

serve() {  # IMAGE: sets container, grpc, metrics
  grpc=$(free_port) metrics=$(free_port)
  rm -rf "$work/scratch"
  mkdir "$work/scratch"
  chown 65532:65532 "$work/scratch" 2>/dev/null || chmod 777 "$work/scratch"
  container=$("${engine[@]}" run --detach "${confined[@]}" --volume "$work/scratch:/scratch" "$1" \
    --listen "127.0.0.1:$grpc" --metrics "127.0.0.1:$metrics" --scratch /scratch)
  "$REPO/tests/deploy/probe.py" "127.0.0.1:$grpc" liveness --wait 30 || fail "$1: liveness"
  "$REPO/tests/deploy/probe.py" "127.0.0.1:$grpc" readiness --wait 10 || fail "$1: readiness"
}

compress() {  # IMAGE NAME ARGUMENTS...: /job/model.onnx to /job/NAME.onnx on the server
  local image=$1 name=$2
  shift 2
  run --volume "$work/job:/job" --entrypoint /usr/bin/modelpress "$image" \
    compress /job/model.onnx -o "/job/$name.onnx" --server "127.0.0.1:$grpc" "$@"
}

stop() {  # IMAGE
  local code
  "${engine[@]}" kill --signal TERM "$container" >/dev/null
  code=$(timeout 60 "${engine[@]}" wait "$container") || fail "$1 does not stop within 60 s of SIGTERM"
  ((code == 0)) || fail "$1 stops with exit code $code"
  "${engine[@]}" rm "$container" >/dev/null
  container=''
}

model=$REPO/${IMAGE_TEST_MODEL:-tests/models/digits-cnn}
mkdir "$work/job"
cp -r "$model/model.onnx" "$model/data" "$work/job"
chown -R 65532:65532 "$work/job" 2>/dev/null || chmod -R a+rwX "$work/job"
chmod 755 "$work"

serve modelpress:test
python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())' \
  "http://127.0.0.1:$metrics/metrics" >"$work/metrics" || fail "no answer at /metrics"
promtool check metrics <"$work/metrics" || fail "promtool check metrics"
"$REPO/tests/deploy/alert_metrics.py" "$work/metrics" || fail "alerts ask for what the server does not have"
compress modelpress:test small --pass quantize_weights || fail "modelpress: the job"
before=$(stat -c %s "$work/job/model.onnx") after=$(stat -c %s "$work/job/small.onnx")
((after < before)) || fail "the model has not become smaller ($before -> $after)"
say "modelpress: a job ran: $before -> $after bytes"
if compress modelpress:test trained --data /job/data --pass finetune >"$work/refused" 2>&1; then
  fail "modelpress trains"
fi
grep -q TRAINER_MISSING "$work/refused" || { cat "$work/refused"; fail "modelpress does not say why it trains nothing"; }
stop modelpress:test

serve modelpress-train:test
compress modelpress-train:test trained --data /job/data --pass prune_magnitude:sparsity_per_tensor=0.8 \
  --pass finetune:training.steps=50,training.learning_rate=0.003 || fail "modelpress-train: the job"
[[ -s $work/job/trained.onnx ]] || fail "modelpress-train leaves no artifact"
say "modelpress-train: a training ran"
stop modelpress-train:test

say "passed in $((SECONDS - start)) s"
