#!/usr/bin/env bash
# Runs tests on each supported version of Python that can be had here, each in a virtual environment of its own.
#
#   scripts/test_matrix.sh                      Python 3.11, 3.12 and 3.13
#   VERSIONS=3.13 KINDS=unit scripts/test_matrix.sh
#
# An interpreter is looked for on the PATH, among those of pyenv, and with uv, which downloads it. Says at the end
# which versions were run, and why one is missing.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly VERSIONS=${VERSIONS:-3.11 3.12 3.13}
readonly KINDS=${KINDS:-unit processes handlers contract}

# works PROGRAM VERSION: whether it is that version of Python and can make virtual environments.
works() { "$1" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null; }

find_python() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    if works "$candidate" "$1"; then
      command -v "$candidate"
      return
    fi
  done
  command -v uv >/dev/null && uv python install --quiet "$1" >&2 && uv python find "$1"
}

# install PYTHON FOLDER: a virtual environment with the locked packages; done again when the lock has changed.
install() {
  local want
  want=$(cat requirements-dev.lock pyproject.toml | cksum)
  [[ -f $2/.made && $(<"$2/.made") == "$want" ]] && return
  "$1" -m venv --clear "$2" &&
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock &&
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . &&
    printf '%s' "$want" >"$2/.made"
}

main() {
  local version python folder failed=0
  local -a lines=() kinds
  read -ra kinds <<<"$KINDS"
  for version in $VERSIONS; do
    folder=.cache/matrix/$version
    if ! python=$(find_python "$version"); then
      lines+=("Python $version: not run; there is no python$version on the PATH or in pyenv, and no uv to fetch it with")
    elif ! install "$python" "$folder"; then
      lines+=("Python $version: not run; its packages cannot be installed")
      failed=1
    elif "$folder/bin/python" scripts/run_tests.py "${kinds[@]}"; then
      lines+=("$("$folder/bin/python" --version): passed: $KINDS")
    else
      lines+=("$("$folder/bin/python" --version): FAILED: $KINDS")
      failed=1
    fi
  done
  printf '\n'
  printf '%s\n' "${lines[@]}"
  return "$failed"
}

main
