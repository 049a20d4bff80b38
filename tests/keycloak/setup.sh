#!/usr/bin/env bash
# Gets a Keycloak ready in .cache/keycloak: the archive from Maven Central, built once for these tests.
# Does nothing when that is done already. Without Java, Maven or the archive it says why, and those tests are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TARGET=../../.cache/keycloak
readonly STAMP=$TARGET/.ready
readonly LOG=$PWD/../../.cache/keycloak.log
# What `kc.sh build` fixes; tests/keycloak/server.py gives the rest at each start.
readonly OPTIONS=(
  --db=dev-mem --cache=local --health-enabled=false --metrics-enabled=false --https-client-auth=request
)

say() { printf '%s\n' "$*"; }
wanted() { cksum pom.xml setup.sh; }

# Without Keycloak all other tests still run: what failed is said here, and by pytest for each test skipped.
go_without() {
  mkdir -p "$TARGET"
  printf '%s\n' "$*" >"$TARGET/.missing"
  say "The Keycloak tests will be skipped: $*"
  exit 0
}

if [[ -f $STAMP && $(<"$STAMP") == "$(wanted)" ]]; then
  exit 0
fi
rm -rf $TARGET
for program in java jar mvn; do
  command -v $program >/dev/null || go_without "$program is not installed"
done
building=$(mktemp -d "$PWD/$TARGET.XXXXXX") # whoever is ready first puts the whole folder in place
trap 'rm -rf "$building"' EXIT
say "Getting Keycloak (first time only; 177 MB) …"
# The output goes to a file: it is long, and of interest only when something is wrong.
mvn -B -ntp dependency:copy-dependencies -DoutputDirectory="$building" </dev/null >"$LOG" 2>&1 ||
  go_without "Maven could not get org.keycloak:keycloak-quarkus-dist; its output is in .cache/keycloak.log"
(cd "$building" && jar xf keycloak-quarkus-dist-*.zip && rm keycloak-quarkus-dist-*.zip)
mv "$building"/keycloak-*/* "$building"
rmdir "$building"/keycloak-*
say "Building Keycloak for the tests (first time only; half a minute) …"
JAVA_OPTS_KC_HEAP=-Xmx400m bash "$building/bin/kc.sh" build "${OPTIONS[@]}" </dev/null >>"$LOG" 2>&1 ||
  go_without "kc.sh build failed; its output is in .cache/keycloak.log"
wanted >"$building/.ready"
rm -rf $TARGET
mv "$building" $TARGET
