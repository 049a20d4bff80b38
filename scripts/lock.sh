#!/usr/bin/env bash
# Resolves the requirements of pyproject.toml into the lock files, with hashes and without naming a package index.
#
#   requirements.lock        to run the portal
#   requirements-build.lock  to build it
#   requirements-dev.lock    both of them, and the tools for checks, tests and documentation
#
# Run on the oldest supported Python; the hashes cover the newer ones too. `scripts/lock.sh --upgrade` is the default;
# other options go to pip-compile as they are (for example `--upgrade-package tornado`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TOOLS=.cache/lock
readonly PYTHON=${PYTHON:-python3.11}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
  { echo "error: the lock is made with Python 3.11 (PYTHON=/path/to/python3.11 make lock)" >&2; exit 1; }
[[ -x $TOOLS/bin/pip-compile ]] || {
  "$PYTHON" -m venv $TOOLS
  $TOOLS/bin/python -m pip install --quiet 'pip-tools==7.6.2'
}
[[ $# -gt 0 ]] || set -- --upgrade

lock() {
  local file=$1
  shift
  echo "Resolving $file …"
  CUSTOM_COMPILE_COMMAND="make lock" $TOOLS/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file "$file" "$@" pyproject.toml
}

lock requirements.lock "$@"
lock requirements-dev.lock --extra dev --extra docs --build-deps-for wheel --build-deps-for editable \
  --constraint requirements.lock "$@"
lock requirements-build.lock --only-build-deps --build-deps-for wheel --build-deps-for editable \
  --constraint requirements-dev.lock "$@"

if grep -nE '://|^--|find-links|/(opt|root|home|tmp|usr)/' requirements*.lock; then
  echo "error: a lock file names an index or a path of this machine" >&2
  exit 1
fi
