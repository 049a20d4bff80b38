#!/usr/bin/env bash
# Gets the test MongoDB server ready in .cache/mongodb: libraries from Maven Central, our main class compiled.
# Does nothing when that is done already. Installs Java and Maven through apt-get when they are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TARGET=../../.cache/mongodb
readonly STAMP=$TARGET/.ready

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
wanted() { cksum pom.xml MongoTestServer.java setup.sh; }

install_java() {
  local missing=() as_root=()
  command -v javac >/dev/null || missing+=(default-jdk-headless)
  command -v mvn >/dev/null || missing+=(maven)
  [[ ${#missing[@]} -eq 0 ]] && return
  command -v apt-get >/dev/null || die "the test MongoDB server needs: ${missing[*]}; please install them"
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null || die "as root, please run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing Debian packages: ${missing[*]} …"
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}"
}

if [[ -f $STAMP && $(<"$STAMP") == "$(wanted)" ]]; then
  exit 0
fi
install_java
mkdir -p $TARGET
rm -rf "${TARGET:?}/lib" "${TARGET:?}/classes" "$STAMP"
say "Getting the test MongoDB server (first time only) …"
# Maven's output goes to a file: it is long, and of interest only when something is wrong.
if ! mvn -B -ntp dependency:copy-dependencies -DoutputDirectory="$PWD/$TARGET/lib" </dev/null >$TARGET/maven.log 2>&1; then
  tail -n 30 $TARGET/maven.log >&2
  die "Maven could not get the libraries of the test MongoDB server"
fi
javac -cp "$TARGET/lib/*" -d $TARGET/classes MongoTestServer.java
wanted >$STAMP
