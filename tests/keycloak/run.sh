#!/usr/bin/env bash
# Runs Keycloak until standard input ends, so that it ends with the tests. Usage: run.sh HOME ARGUMENT…
set -euo pipefail

exec 3<&0
bash "$1/bin/kc.sh" "${@:2}" </dev/null &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; exit 0' TERM INT
{ cat <&3 >/dev/null; kill "$server" 2>/dev/null || true; } &
wait "$server"
