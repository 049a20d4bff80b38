#!/usr/bin/env bash
# Resolves the requirements of pyproject.toml into the lock files, with hashes and without naming a package index.
#
#   requirements.lock        to run the portal
#   requirements-build.lock  to build it
#   requirements-dev.lock    both of them, and the tools for checks, tests and documentation
#
# Each lock holds for every supported version of Python: a package that only some of them need, or another release for
# them, has a marker. `scripts/lock.sh --upgrade` is the default; other options go to `uv pip compile` as they are (for
# example `--upgrade-package tornado`; `--quiet` to keep all releases).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TOOLS=.cache/lock
readonly OLDEST=3.11
readonly PYTHON=${PYTHON:-python3}
[[ -x $TOOLS/bin/uv ]] || {
  "$PYTHON" -m venv $TOOLS
  $TOOLS/bin/python -m pip install --quiet 'uv==0.13.9'
}
[[ $# -gt 0 ]] || set -- --upgrade

# What the build needs; editables is asked for by hatchling when it makes an editable installation.
"$TOOLS/bin/python" - >$TOOLS/build.in <<'END'
import tomllib
with open("pyproject.toml", "rb") as file:
    print("\n".join([*tomllib.load(file)["build-system"]["requires"], "editables"]))
END

lock() {
  local file=$1
  shift
  echo "Resolving $file …"
  UV_FIND_LINKS=${PIP_FIND_LINKS:-} UV_CUSTOM_COMPILE_COMMAND="make lock" $TOOLS/bin/uv pip compile --quiet --universal \
    --python-version $OLDEST --generate-hashes --no-emit-index-url --no-emit-find-links --output-file "$file" "$@"
}

lock requirements.lock "$@" pyproject.toml
lock requirements-dev.lock --extra dev --extra docs --extra otel --constraint requirements.lock "$@" pyproject.toml $TOOLS/build.in
lock requirements-build.lock --constraint requirements-dev.lock "$@" $TOOLS/build.in

if grep -nE '://|^--|find-links|/(opt|root|home|tmp|usr)/' requirements*.lock; then
  echo "error: a lock file names an index or a path of this machine" >&2
  exit 1
fi
