#!/usr/bin/env bash
# Builds the image of the Dockerfile and runs it as a cluster would: read-only, without rights, as nobody in particular.
#
# With docker or podman on the machine itself (./dev test starts it outside then) the image is built as anyone would.
# Elsewhere buildah builds it, from a base image made of a debootstrap tree, and podman runs it; that needs root.
# Exit code 77: neither can be had here.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
IMAGE=modelpress:test
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

build_with_buildah() {
  local storage=${MODELPRESS_CACHE:-/var/cache/modelpress}/containers options limits base
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
    local tree=${MODELPRESS_CACHE:-}/base-trixie.tar
    if [[ ! -e $tree ]]; then
      tree=$work/base.tar
      debootstrap --variant=minbase trixie "$work/base" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 15 "$work/debootstrap.log"; fail "debootstrap"; }
      tar --one-file-system -C "$work/base" -cf "$tree" .
      rm -rf --one-file-system "$work/base"
    fi
    "${engine[@]}" import "$tree" "$base" >/dev/null
  fi

  local ccache=() folder
  folder=$(ccache --get-config cache_dir 2>/dev/null || true)
  if [[ -d $folder ]]; then ccache=(--volume "$folder:/var/cache/ccache-outside" --build-arg CCACHE_DIR=/var/cache/ccache-outside); fi
  buildah "${options[@]}" bud --isolation chroot --pull-never --layers "${limits[@]}" "${ccache[@]}" --tag "$IMAGE" \
    --file "$REPO/Dockerfile" "$REPO"
  "${engine[@]}" image prune --force >/dev/null  # the previous run's
}

if [[ ${MODELPRESS_INSIDE:-} == docker || ${MODELPRESS_INSIDE:-} == podman ]]; then
  say "skipped: inside a container; ./dev test runs this test outside"
  exit 77
elif [[ -n ${IMAGE_TEST_ENGINE:-} ]]; then
  engine=("$IMAGE_TEST_ENGINE")
  run_options=()
  build() { DOCKER_BUILDKIT=1 "${engine[@]}" build --tag "$IMAGE" --file "$REPO/Dockerfile" "$REPO"; }
elif ((EUID == 0)) && command -v buildah podman runc >/dev/null; then
  build() { build_with_buildah; }
else
  say "skipped: needs an engine that answers, or root"
  exit 77
fi

# In this shell, since it sets `engine`; what it prints is of interest only when it fails.
build >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; fail "the image does not build"; }
built=$((SECONDS - start))
say "built in $built s, $("${engine[@]}" image inspect --format '{{.Size}}' "$IMAGE" | awk '{ printf "%.0f MB", $1 / 1e6 }')"

# --- What is in it ------------------------------------------------------------------------------------------------

inspect() { "${engine[@]}" image inspect --format "$1" "$IMAGE"; }
[[ $(inspect '{{.Config.User}}') == 65532:65532 ]] || fail "runs as $(inspect '{{.Config.User}}')"
for label in title description version revision; do
  [[ -n $(inspect "{{index .Config.Labels \"org.opencontainers.image.$label\"}}") ]] || fail "has no label $label"
done

confined=("${run_options[@]}" --network host --read-only --cap-drop ALL --security-opt no-new-privileges)
run() { "${engine[@]}" run --rm "${confined[@]}" "$@"; }
for shell in /bin/sh /bin/bash /usr/bin/apt-get; do
  if run --entrypoint "$shell" "$IMAGE" -c true >/dev/null 2>&1; then fail "has $shell"; fi
done
run --entrypoint /usr/bin/modelpress "$IMAGE" version >"$work/version" || fail "modelpress version"

# --- The server ---------------------------------------------------------------------------------------------------

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
grpc=$(free_port) metrics=$(free_port)
mkdir -p "$work/scratch" "$work/job"
chown 65532:65532 "$work/scratch" "$work/job" 2>/dev/null || chmod 777 "$work/scratch" "$work/job"
chmod 755 "$work"
container=$("${engine[@]}" run --detach "${confined[@]}" --volume "$work/scratch:/scratch" "$IMAGE" \
  --listen "127.0.0.1:$grpc" --metrics "127.0.0.1:$metrics" --scratch /scratch)
"$REPO/tests/deploy/probe.py" "127.0.0.1:$grpc" liveness --wait 30 || fail "liveness"
"$REPO/tests/deploy/probe.py" "127.0.0.1:$grpc" readiness --wait 10 || fail "readiness"

python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())' \
  "http://127.0.0.1:$metrics/metrics" >"$work/metrics" || fail "no answer at /metrics"
promtool check metrics <"$work/metrics" || fail "promtool check metrics"
"$REPO/tests/deploy/alert_metrics.py" "$work/metrics" || fail "alerts ask for what the server does not have"

# --- A job, with the image's own client --------------------------------------------------------------------------

cp "$REPO/${IMAGE_TEST_MODEL:-tests/models/digits-cnn/model.onnx}" "$work/job/model.onnx"
run --volume "$work/job:/job" --entrypoint /usr/bin/modelpress "$IMAGE" \
  compress /job/model.onnx -o /job/small.onnx --pass quantize_weights --server "127.0.0.1:$grpc" || fail "the job"
before=$(stat -c %s "$work/job/model.onnx") after=$(stat -c %s "$work/job/small.onnx")
((after < before)) || fail "the model has not become smaller ($before -> $after)"
say "a job ran: $before -> $after bytes"

# --- The end ------------------------------------------------------------------------------------------------------

"${engine[@]}" kill --signal TERM "$container" >/dev/null
code=$(timeout 60 "${engine[@]}" wait "$container") || fail "does not stop within 60 s of SIGTERM"
((code == 0)) || fail "stops with exit code $code"
say "passed in $((SECONDS - start)) s"
