#!/usr/bin/env bash
# The portal with two organisations, ready to sign in to. Checks its port first, then installs what is missing.
#
#   scripts/demo.sh                                   at http://localhost:8080
#   scripts/demo.sh --listen 127.0.0.1:9080           at another port; other options of `portal demo` work too
#
# `make demo LISTEN=127.0.0.1:9080 PUBLIC_URL=https://portal.example` does the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

listen=127.0.0.1:8080
arguments=("$@")
while (($#)); do
  case $1 in
    --listen) listen=${2:-} ;;
    --listen=*) listen=${1#*=} ;;
  esac
  shift
done

# Whether something accepts connections there; bash opens the connection itself. `portal demo` refuses other hosts.
in_use() { [[ $1 =~ :[0-9]{1,5}$ ]] && (exec 3<>"/dev/tcp/127.0.0.1/${1##*:}") 2>/dev/null; }

if in_use "$listen"; then
  printf 'error: port %s of this machine is in use; choose another: make demo LISTEN=127.0.0.1:9080\n' \
    "${listen##*:}" >&2
  exit 3
fi
scripts/setup.sh runtime
exec env DEMO_STARTED_BY=make .venv/bin/portal demo "${arguments[@]}"
