#!/usr/bin/env bash
# The environment that modelpress is built and run in, made on any Linux machine. ./dev sources this file; it chooses:
#
#   native   Debian >= 13 or Ubuntu >= 26.04: the packages are installed on the machine itself
#   docker   an engine that answers: a container of an image made from the Dockerfile's toolchain stage
#   podman   the same
#   chroot   root: a Debian 13 root made by debootstrap, entered in a private mount namespace
#
# MODELPRESS_ENV names one instead. Everything lives in one cache folder:
#
#   root-<key>       the Debian root; the key is a hash of the package list and of what else decides its content
#   base-<suite>.tar the root before the packages, also the base image of the image test
#   apt/             downloaded packages, for when the list changes
#   ccache/ home/    kept for good, seen as /var/cache/ccache and /home/dev
#   *-failed         when an engine last could not make the image: not tried again for an hour where there is another way
#   lock             held while a root or image is made
#
# A root is made under a name that ends in .tmp.<pid> and renamed when it is whole, so a run that is killed leaves
# nothing that looks finished; the next one removes the rest.

readonly SUITE=trixie
readonly ENVIRONMENT_VERSION=1  # raise it when the steps below change what a root or image contains
readonly MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
readonly SECURITY_MIRROR=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly REPO
readonly CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/modelpress

say() { printf '%s\n' "./dev: $*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

environment_key() {
  { printf '%s\n' "$ENVIRONMENT_VERSION" "$SUITE" "$MIRROR"; sh "$REPO/cmake/packages.sh"; } | sha256sum | cut -c1-12
}

# --- Choosing -----------------------------------------------------------------------------------------------------

os_name() {
  local PRETTY_NAME=unknown
  # shellcheck source=/dev/null
  [[ -r /etc/os-release ]] && . /etc/os-release
  printf '%s' "$PRETTY_NAME"
}

machine_has_packages() {  # does this machine's distribution carry the package list in the right versions?
  [[ -r /etc/os-release ]] && have apt-get || return 1
  local ID='' VERSION_ID=''
  # shellcheck source=/dev/null
  . /etc/os-release
  case $ID in
    debian) [[ -z $VERSION_ID || ${VERSION_ID%%.*} -ge 13 ]] ;;  # testing and unstable have no VERSION_ID
    ubuntu) ((${VERSION_ID%%.*} * 100 + 10#${VERSION_ID##*.} >= 2604)) ;;
    *) return 1 ;;
  esac
}

missing_packages() {
  local -A installed=()
  local package state
  # shellcheck disable=SC2016
  while read -r package state; do
    [[ $state == installed ]] && installed[$package]=1
  done < <(sh "$REPO/cmake/packages.sh" | xargs dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null || true)
  while read -r package; do
    [[ -n ${installed[$package]:-} ]] || printf '%s\n' "$package"
  done < <(sh "$REPO/cmake/packages.sh")
}

engine_answers() {  # docker|podman
  have "$1" || return 1
  if [[ $1 == docker ]]; then
    timeout 5 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
  else
    timeout 10 podman info >/dev/null 2>&1
  fi
}

# Calls the first way that works; each enter_* either becomes the command (and never returns) or returns non-zero after
# saying why not.
enter_environment() {
  case ${MODELPRESS_ENV:-} in
    '') ;;
    native) enter_native "$@"; exit 1 ;;
    docker | podman)
      engine_answers "$MODELPRESS_ENV" || die "MODELPRESS_ENV=$MODELPRESS_ENV, but no $MODELPRESS_ENV engine answers here."
      enter_engine "$MODELPRESS_ENV" "$@"; exit 1 ;;
    chroot)
      ((EUID == 0)) || die "MODELPRESS_ENV=chroot needs root (sudo MODELPRESS_ENV=chroot ./dev ...)."
      enter_chroot "$@"; exit 1 ;;
    *) die "MODELPRESS_ENV is '$MODELPRESS_ENV'; it is one of native, docker, podman, chroot." ;;
  esac

  if machine_has_packages; then enter_native "$@" || true; fi
  local engine found=()
  for engine in docker podman; do
    have "$engine" || continue
    if ((EUID == 0)) && [[ -n $(find "$CACHE/$engine-failed" -mmin -60 2>/dev/null) ]]; then
      continue  # said so less than an hour ago, and there is another way
    elif engine_answers "$engine"; then
      enter_engine "$engine" "$@" || found+=("$engine: its engine answers, but the image cannot be made, see above")
    else
      found+=("$engine: the program is there, but no engine answers")
    fi
  done
  if ((EUID == 0)); then enter_chroot "$@"; exit 1; fi

  say "modelpress is built with the packages of Debian 13, which this machine ($(os_name)) does not offer to you. Any of"
  say "  1. Debian >= 13 or Ubuntu >= 26.04, with the right to install packages (as root, or through sudo);"
  say "  2. Docker or Podman with an engine that answers${found[*]:+ (here $(IFS=';'; printf '%s' "${found[*]}"))};"
  say "  3. root (sudo ./dev ...): a Debian 13 root is then made under the cache folder, and nothing else is touched"
  say "makes './dev' work."
  exit 1
}

# --- What every environment is given ------------------------------------------------------------------------------

# Variables that pass into a container or root; everything else of the caller's environment stays outside.
passed_variables() {
  local name
  for name in $(compgen -e); do
    case $name in
      MODELPRESS_INSIDE) ;;
      TERM | COLORTERM | NO_COLOR | CLICOLOR* | TZ | CI | VERBOSE | SOURCE_DATE_EPOCH | OMP_NUM_THREADS | \
        MODELPRESS_* | GTEST_* | CTEST_* | CMAKE_* | NINJA_STATUS | *SAN_OPTIONS | GRPC_VERBOSITY | GRPC_TRACE | \
        http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY) printf '%s\n' "$name" ;;
    esac
  done
}

# The folders that keep their paths inside, outer ones first.
mounted_folders() {
  local folder git_folder folders=("$REPO")
  [[ -d $REPO/../shared ]] && folders+=("$(cd "$REPO/../shared" && pwd -P)")
  if [[ -f $REPO/.git ]]; then  # a git worktree: its objects are in the main checkout
    git_folder=$(git -C "$REPO" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || true)
    [[ -d $git_folder ]] && folders+=("$git_folder")
  fi
  while IFS= read -r -d : folder; do
    [[ -n $folder ]] || continue
    [[ -d $folder ]] || die "MODELPRESS_MOUNT names '$folder', which is not a folder."
    folder=$(cd "$folder" && pwd -P)
    case $folder in
      / | /usr | /usr/* | /etc | /etc/* | /bin | /sbin | /lib* | /dev | /proc | /sys | /run | /var | /root | /home)
        die "MODELPRESS_MOUNT names '$folder', which would hide a system folder of the environment; name one below it." ;;
    esac
    folders+=("$folder")
  done <<<"${MODELPRESS_MOUNT:-}:"
  printf '%s\n' "${folders[@]}" | sort -u
}

require_visible_folder() {  # FOLDER < mounted folders
  local mounted
  while IFS= read -r mounted; do [[ $1/ == "$mounted"/* ]] && return; done
  die "the folder $1 is not seen inside the environment. Run from below $REPO, or name the folder in MODELPRESS_MOUNT."
}

# --- native -------------------------------------------------------------------------------------------------------

enter_native() {
  local missing as_root=() answer
  machine_has_packages || say "warning: this machine ($(os_name)) is not known to carry the right packages"
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]})); then
    if ((EUID != 0)); then
      if [[ -t 0 && -t 2 ]] && have sudo; then
        printf '%s\n' "./dev: these packages are missing: ${missing[*]}" >&2
        read -r -p "./dev: install them with sudo apt-get? [y/N] " answer
        [[ $answer == [yY]* ]] || { say "not installed"; return 1; }
        as_root=(sudo)
      elif have sudo && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
      else
        say "these packages are missing, and installing them needs root: ${missing[*]}"
        return 1
      fi
    fi
    say "installing ${#missing[@]} packages"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c \
      'apt-get update -q && apt-get install -q -y --no-install-recommends "$@"' sh "${missing[@]}" >&2 || return 1
  fi
  local user home groups=--init-groups
  if ((EUID == 0)) && user=$(calling_user); then  # root was for the packages; what is made belongs to the caller
    home=$(getent passwd "${user%:*}" | cut -d: -f6)
    [[ -n $home ]] || groups=--clear-groups
    exec setpriv --reuid "${user%:*}" --regid "${user#*:}" "$groups" \
      env -u SUDO_UID -u XDG_CACHE_HOME HOME="${home:-/tmp}" MODELPRESS_ENV=native "$REPO/dev" "$@"
  fi
  export MODELPRESS_INSIDE=native MODELPRESS_CACHE=$CACHE CCACHE_DIR=${CCACHE_DIR:-$CACHE/ccache}
  mkdir -p "$CCACHE_DIR"
  exec "$REPO/dev" "$@"
}

# UID:GID of the person behind sudo; fails when there is none or it is root.
calling_user() {
  [[ -n ${SUDO_UID:-} && ${SUDO_UID:-0} != 0 ]] && printf '%s:%s' "$SUDO_UID" "${SUDO_GID:-$SUDO_UID}"
}

give_folder() {  # UID:GID FOLDER: makes the folder theirs if it is not
  [[ $(stat -c %u "$2") == "${1%:*}" ]] || chown -R "$1" "$2"
}

# --- docker and podman --------------------------------------------------------------------------------------------

enter_engine() {  # ENGINE COMMAND...
  local engine=$1 image
  shift
  image=modelpress-dev:$(environment_key)
  "$engine" image inspect "$image" >/dev/null 2>&1 || make_engine_image "$engine" "$image" || return 1

  mkdir -p "$CACHE/ccache" "$CACHE/home"
  local folders options=(run --rm -i --network host --cap-add SYS_PTRACE --security-opt label=disable)
  mapfile -t folders < <(mounted_folders)
  printf '%s\n' "${folders[@]}" /tmp | require_visible_folder "$PWD" || exit 1
  [[ -t 0 && -t 1 ]] && options+=(-t)
  # An init, for Ctrl-C to end what does not handle it; podman has one only where catatonit is installed.
  if [[ $engine == docker ]] || have catatonit || [[ -x /usr/libexec/podman/catatonit || -x /usr/lib/podman/catatonit ]]; then
    options+=(--init)
  fi
  local user
  user=$(calling_user) || user=$EUID:$(id -g)
  give_folder "$user" "$CACHE/ccache"
  give_folder "$user" "$CACHE/home"
  if [[ $engine == podman ]] && ((EUID != 0)); then
    options+=(--userns keep-id --user "$user")
  elif [[ $engine == docker && $(docker info -f '{{.SecurityOptions}}' 2>/dev/null) == *rootless* ]]; then
    options+=(--user 0:0)  # root in there is the caller out here
  else
    options+=(--user "$user")
  fi
  local name folder
  for folder in "${folders[@]}"; do options+=(--volume "$folder:$folder"); done
  options+=(--volume /tmp:/tmp --volume "$CACHE/ccache:/var/cache/ccache" --volume "$CACHE/home:/home/dev" --workdir "$PWD")
  while IFS= read -r name; do options+=(--env "$name"); done < <(passed_variables)
  options+=(--env "MODELPRESS_INSIDE=$engine" --env HOME=/home/dev --env LANG=C.UTF-8
            --env CCACHE_DIR=/var/cache/ccache --env GIT_CONFIG_COUNT=1
            --env GIT_CONFIG_KEY_0=safe.directory --env 'GIT_CONFIG_VALUE_0=*')
  exec "$engine" "${options[@]}" --entrypoint "$REPO/dev" "$image" "$@"
}

make_engine_image() {  # ENGINE IMAGE
  local lock log="$CACHE/image.log"
  take_lock
  "$1" image inspect "$2" >/dev/null 2>&1 && { release_lock; return; }
  say "making the image $2 with $1 (once, until the package list changes)"
  if ! DOCKER_BUILDKIT=1 "$1" build --target toolchain --build-arg PACKAGE_SECTIONS= --tag "$2" \
    --file "$REPO/Dockerfile" "$REPO" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    say "$1 cannot make the image ($log has it all)"
    touch "$CACHE/$1-failed"
    release_lock
    return 1
  fi
  release_lock
}

take_lock() {
  mkdir -p "$CACHE" || true
  [[ -w $CACHE ]] || die "the cache folder $CACHE cannot be written (XDG_CACHE_HOME names another)"
  exec {lock}>"$CACHE/lock"
  flock -n "$lock" && return
  say "another run is making the environment; waiting for it"
  flock "$lock"
}

release_lock() { exec {lock}>&-; }

# --- chroot -------------------------------------------------------------------------------------------------------

enter_chroot() {  # COMMAND...
  local root folders user
  root=$CACHE/root-$(environment_key)
  [[ -d $root ]] || make_root "$root"
  touch "$root.last-used"
  mkdir -p "$CACHE/ccache" "$CACHE/home"
  mapfile -t folders < <(mounted_folders)
  printf '%s\n' "${folders[@]}" /tmp | require_visible_folder "$PWD" || exit 1
  user=$(calling_user) || user=0:0
  give_folder "$user" "$CACHE/ccache"
  give_folder "$user" "$CACHE/home"

  local name variables=()
  while IFS= read -r name; do variables+=("$name=${!name}"); done < <(passed_variables)
  variables+=(MODELPRESS_INSIDE=chroot MODELPRESS_CACHE=/var/cache/modelpress HOME=/home/dev LANG=C.UTF-8
              PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CCACHE_DIR=/var/cache/ccache
              GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory 'GIT_CONFIG_VALUE_0=*')
  exec unshare --mount --propagation private bash "${BASH_SOURCE[0]}" enter_root "$root" "$user" "$PWD" \
    ${#folders[@]} "${folders[@]}" ${#variables[@]} "${variables[@]}" "$@"
}

# Inside the private mount namespace: lays the folders into the root, makes it /, becomes ./dev in there.
enter_root() {  # ROOT USER DIRECTORY N FOLDER... N VARIABLE... COMMAND...
  local root=$1 user=$2 directory=$3 folders variables folder
  shift 3
  folders=("${@:2:$1}")
  shift $(($1 + 1))
  variables=("${@:2:$1}")
  shift $(($1 + 1))

  mount --bind "$root" "$root"  # pivot_root wants a mount point
  for folder in /dev /proc /sys /tmp; do mount --rbind "$folder" "$root$folder"; done
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount --bind "$CACHE/ccache" "$root/var/cache/ccache"
  mount --bind "$CACHE/home" "$root/home/dev"
  mount --bind "$CACHE" "$root/var/cache/modelpress"
  for folder in /etc/resolv.conf /etc/hosts; do
    [[ ! -e $folder ]] || mount --bind "$(readlink -f "$folder")" "$root$folder"
  done
  for folder in "${folders[@]}"; do
    [[ $folder/ == /tmp/* ]] && continue
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
  done

  # Afterwards / is the root and nothing else of the machine is in sight. Where / cannot be moved (an initial ramdisk),
  # plain chroot does.
  local as_user=()
  [[ $user == 0:0 ]] || as_user=(setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --)
  # shellcheck disable=SC2016
  local become='cd "$1" || exit 1; shift; exec "$@"'
  cd "$root"
  if pivot_root . .outside 2>/dev/null; then
    exec chroot . /bin/sh -c 'umount -l /.outside; '"$become" sh "$directory" \
      env -i "${variables[@]}" "${as_user[@]}" "$REPO/dev" "$@"
  fi
  exec chroot "$root" /bin/sh -c "$become" sh "$directory" env -i "${variables[@]}" "${as_user[@]}" "$REPO/dev" "$@"
}

make_root() {  # ROOT
  local root=$1 lock temporary log="$CACHE/root.log" builder start=$SECONDS
  take_lock
  if [[ -d $root ]]; then release_lock; return; fi
  # We hold the lock, so whatever is unfinished was left by a run that died.
  rm -rf --one-file-system "$CACHE"/*.tmp.*
  local unused
  while IFS= read -r -d '' unused; do
    rm -rf --one-file-system "${unused%.last-used}" "$unused"
  done < <(find "$CACHE" -maxdepth 1 -name 'root-*.last-used' -mtime +14 -print0)

  install_debootstrap
  temporary=$root.tmp.$$
  say "making a Debian 13 root in $root (once, until the package list changes; about two minutes)"
  # Its own process namespace: whatever it started ends with it, also when this script is killed.
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    bash "${BASH_SOURCE[0]}" build_root "$temporary" </dev/null 3>&2 >"$log" 2>&1 &
  builder=$!
  # shellcheck disable=SC2064
  trap "kill -KILL $builder; { wait $builder || true; } 2>/dev/null; rm -rf --one-file-system '$temporary' '$CACHE'/*.tmp.*; exit 130" INT TERM HUP
  if ! wait "$builder"; then
    tail -n 15 "$log" >&2
    rm -rf --one-file-system "$temporary"
    die "the Debian root cannot be made ($log has it all)"
  fi
  mv -T "$temporary" "$root"
  trap - INT TERM HUP
  release_lock
  say "the root is ready, $((SECONDS - start)) s"
}

install_debootstrap() {
  have debootstrap && [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] && return
  have apt-get || die "debootstrap is missing; install it (with Debian's archive keyring) and run ./dev again."
  say "installing debootstrap"
  { DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends debootstrap debian-archive-keyring
  } >"$CACHE/root.log" 2>&1 || { tail -n 15 "$CACHE/root.log" >&2; die "debootstrap cannot be installed."; }
}

# Makes a Debian tree with the packages in DIRECTORY. Runs in namespaces of its own, in which mounts need no undoing, and
# tells the person on descriptor 3.
build_root() {  # DIRECTORY
  local root=$1 base=$CACHE/base-$SUITE.tar packages script
  mkdir -p "$root"
  if [[ ! -e $base ]]; then
    say "  1/2 base system" 2>&3
    script=/usr/share/debootstrap/scripts/$SUITE
    [[ -e $script ]] || script=/usr/share/debootstrap/scripts/sid
    DPKG_FORCE=unsafe-io debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
      "$SUITE" "$root" "$MIRROR" "$script"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    printf 'deb %s %s main\n' "$MIRROR" "$SUITE" "$MIRROR" "$SUITE-updates" "$SECURITY_MIRROR" "$SUITE-security" \
      >"$root/etc/apt/sources.list"
    tar --one-file-system -C "$root" -cf "$base.tmp.$$" .
    mv "$base.tmp.$$" "$base"
  else
    tar -C "$root" -xf "$base"
  fi

  say "  2/2 packages" 2>&3
  mkdir -p "$root"/{.outside,home/dev,var/cache/ccache,var/cache/modelpress} "$CACHE/apt"
  # What the machine says about proxies and its mirror holds in the root too.
  { apt-config dump Acquire 2>/dev/null || true; } | grep -iE 'proxy|Check-|Verify|CaInfo' >"$root/etc/apt/apt.conf.d/20machine" || true
  printf 'path-exclude=/usr/share/%s\n' 'man/*' 'info/*' 'locale/*/LC_MESSAGES/*' 'doc/*' >"$root/etc/dpkg/dpkg.cfg.d/slim"
  printf 'path-include=/usr/share/doc/*/copyright\n' >>"$root/etc/dpkg/dpkg.cfg.d/slim"
  printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"  # nothing is started
  chmod +x "$root/usr/sbin/policy-rc.d"
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  mkdir -p "$root/usr/local/share/ca-certificates"
  cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --bind "$CACHE/apt" "$root/var/cache/apt/archives"
  mapfile -t packages < <(sh "$REPO/cmake/packages.sh")
  # shellcheck disable=SC2016
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    sh -ec 'apt-get update -q
            apt-get upgrade -q -y
            apt-get install -q -y --no-install-recommends "$@"
            apt-get autoclean -q -y' sh "${packages[@]}"
  rm -rf "$root"/var/lib/apt/lists/*
  date +%s.%N >"$root/etc/modelpress-environment"  # build folders remember which root made them
}

# Run as a program only by itself, to go on inside new namespaces.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -euo pipefail
  "$@"
fi
