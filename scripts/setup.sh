#!/usr/bin/env bash
# Installs what the build needs: system packages (Debian 12, Ubuntu 24.04), then .venv with the CPU build of PyTorch where no GPU is.
# Does only what is missing, so a machine that has everything needs no network. usage: scripts/setup.sh [--cudnn]
# --cudnn: the headers that cuDNN attention (libnsrt-cudnn.so) is compiled with beside those of a CUDA toolkit, out of wheels of 450 MB; into .cudnn.
set -euo pipefail
cd "$(dirname "$0")/.."

LLVM=22
PACKAGES=(
  libmlir-$LLVM-dev mlir-$LLVM-tools llvm-$LLVM-dev llvm-$LLVM-tools clang-$LLVM lld-$LLVM liblld-$LLVM-dev libclang-rt-$LLVM-dev
  zlib1g-dev libzstd-dev libxml2-dev libedit-dev libcurl4-openssl-dev libxxhash-dev libeigen3-dev libgtest-dev libcli11-dev
  nlohmann-json3-dev libturbojpeg0-dev libjpeg62-turbo-dev libpng-dev ccache cmake ninja-build g++ make git python3-venv python3-dev
)

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

. /etc/os-release
if [ "${ID:-}" = ubuntu ]; then # which has another name for it
  PACKAGES=("${PACKAGES[@]/libjpeg62-turbo-dev/libjpeg-turbo8-dev}")
fi

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo > /dev/null; then sudo "$@"
  else fail "not root and no sudo; as root, run: $*"
  fi
}

install_system_packages() {
  command -v apt-get > /dev/null ||
    fail "no apt-get: install LLVM and MLIR $LLVM with headers and CMake files, then what Debian calls: ${PACKAGES[*]}"
  local missing=()
  for package in "${PACKAGES[@]}"; do
    # A python3 from elsewhere that can make environments will do.
    [ "$package" = python3-venv ] && python3 -c 'import ensurepip, venv' 2> /dev/null && continue
    [ "$package" = python3-dev ] && python3 -c 'import ensurepip, venv' 2> /dev/null && continue
    dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "apt packages: ${missing[*]}"
  as_root apt-get update -q
  if ! apt-cache show "libmlir-$LLVM-dev" > /dev/null 2>&1; then
    add_llvm_repository
    as_root apt-get update -q
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# The LLVM project's own packages, for distributions that do not carry this version.
add_llvm_repository() {
  say "LLVM $LLVM is not in the distribution: adding apt.llvm.org"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ca-certificates wget
  wget -qO- https://apt.llvm.org/llvm-snapshot.gpg.key | as_root tee /etc/apt/trusted.gpg.d/apt.llvm.org.asc > /dev/null
  echo "deb https://apt.llvm.org/$VERSION_CODENAME/ llvm-toolchain-$VERSION_CODENAME-$LLVM main" |
    as_root tee "/etc/apt/sources.list.d/llvm-$LLVM.list" > /dev/null
}

install_python_packages() {
  local requirements=(python/requirements.txt python/requirements-nodeps.txt python/pyproject.toml)
  local stamp=.venv/.installed-$(cat "${requirements[@]}" | sha256sum | cut -c1-16)
  [ -e "$stamp" ] && return
  [ -x .venv/bin/python ] || python3 -m venv .venv
  local pip=(.venv/bin/python -m pip install -q --disable-pip-version-check)
  install_torch "$(sed -n 's/^torch==//p' python/requirements.txt)"
  "${pip[@]}" -r python/requirements.txt setuptools
  "${pip[@]}" --no-deps -r python/requirements-nodeps.txt
  "${pip[@]}" --no-deps --no-build-isolation -e python
  touch "$stamp"
}

# The CPU build (a fifth of the size) where no GPU is: from the configured index, else from PyTorch's own; any build will do.
install_torch() {
  local version=$1
  .venv/bin/python -c "import torch; assert torch.__version__.split('+')[0] == '$version'" 2> /dev/null && return
  say "PyTorch $version"
  if ! command -v nvidia-smi > /dev/null; then
    "${pip[@]}" "torch==$version+cpu" 2> /dev/null && return
    "${pip[@]}" "torch==$version+cpu" --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu 2> /dev/null && return
  fi
  "${pip[@]}" "torch==$version"
}

# Headers alone: the libraries are those of the machine that runs.
install_cudnn_headers() {
  [ -e .cudnn/include/cudnn_frontend.h ] && return
  say "headers of cuDNN"
  local wheels
  wheels=$(mktemp -d)
  .venv/bin/python -m pip download -q --disable-pip-version-check --no-deps -d "$wheels" \
    nvidia-cudnn-cu13==9.19.0.56 nvidia-cudnn-frontend==1.24.1 nvidia-cuda-nvrtc==13.0.88
  .venv/bin/python scripts/wheel_headers.py "$wheels" .cudnn/include
  rm -rf "$wheels"
}

install_system_packages
install_python_packages
[ "${1:-}" = --cudnn ] && install_cudnn_headers
exit 0
