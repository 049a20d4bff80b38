#!/usr/bin/env bash
# Gets the test Spring Authorization Server ready in .cache/spring: libraries from Maven Central, our main class
# compiled. Does nothing when that is done already. Needs Java and Maven, which scripts/setup.sh installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TARGET=../../.cache/spring
readonly STAMP=$TARGET/.ready

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
wanted() { cksum pom.xml SpringTestServer.java setup.sh; }

if [[ -f $STAMP && $(<"$STAMP") == "$(wanted)" ]]; then
  exit 0
fi
for program in javac mvn; do
  command -v $program >/dev/null || die "the test Spring server needs $program; scripts/setup.sh test installs it"
done
mkdir -p $TARGET
building=$(mktemp -d "$PWD/$TARGET.XXXXXX") # whoever is ready first puts the whole folder in place
trap 'rm -rf "$building"' EXIT
say "Getting the test Spring Authorization Server (first time only; 30 MB) …"
# Maven's output goes to a file: it is long, and of interest only when something is wrong.
if ! mvn -B -ntp dependency:copy-dependencies -DoutputDirectory="$building/lib" </dev/null >$TARGET/maven.log 2>&1; then
  tail -n 30 $TARGET/maven.log >&2
  die "Maven could not get the libraries of the test Spring Authorization Server"
fi
javac -parameters -cp "$building/lib/*" -d "$building/classes" SpringTestServer.java
wanted >"$building/.ready"
rm -rf $TARGET
mv "$building" $TARGET
