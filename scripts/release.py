"""Builds a release into dist/ and tests it: a source distribution, and from that a wheel.

The version is that of the tag, or a development version between tags. Checks:

* on a tag: everything is committed, and CHANGELOG.md has a section for this version and nothing unreleased;
* the wheel contains the files that the portal needs;
* in a fresh environment outside the checkout, the wheel installs, reports its version, and `portal
  demo` serves.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
NEEDED = (
    "portal/py.typed",
    "portal/_templates/base.html",
    "portal/_static/portal.css",
    "portal/demo/pages/base.html",
    "portal/demo/front_end/index.html",
)
"""Files of the wheel other than Python modules, one of each kind."""
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


class Mistake(Exception):
    """The release has an error."""


def main() -> int:
    """Build and try a release; return the exit code."""
    try:
        version = run(sys.executable, "-m", "hatchling", "version")
        tag = tag_of_head()
        if tag is not None:
            check_tag(tag, version, (ROOT / "CHANGELOG.md").read_text())
        shutil.rmtree(DIST, ignore_errors=True)
        say(f"Building version {version} …")
        sdist = build_sdist(ROOT, DIST)
        wheel = build_wheel(sdist, DIST)
        check_contents(wheel)
        say("Trying the wheel in a fresh environment …")
        try_wheel(wheel, version)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd))}\n{error.stdout}{error.stderr}", file=sys.stderr)
        return 1
    kind = f"release {tag}" if tag else "development version, not to be published"
    say(f"{kind}: {sdist.relative_to(ROOT)}, {wheel.relative_to(ROOT)}")
    return 0


def say(line: str) -> None:
    """Print a progress message at once."""
    print(line, flush=True)


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return what it prints. Raises: CalledProcessError."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def clean_environment() -> dict[str, str]:
    """The environment without variables that make Python find the checkout, and without portal settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PORTAL_", "PYTHON", "VIRTUAL_"))
    }


# --- the version


def tag_of_head() -> str | None:
    """The version tag of HEAD, or None."""
    tags = run("git", "tag", "--points-at", "HEAD", "--list", "v[0-9]*").split()
    if len(tags) > 1:
        raise Mistake(f"the commit has several tags: {', '.join(tags)}")
    return tags[0] if tags else None


def check_tag(tag: str, version: str, changelog: str) -> None:
    """Check that a tag may be released. Raises: Mistake."""
    if version != tag.removeprefix("v"):
        raise Mistake(f"the version is {version} at tag {tag}: is something not committed?")
    sections = sections_of(changelog)
    if sections.get("Unreleased"):
        raise Mistake("CHANGELOG.md has unreleased lines: move them to the section of this version")
    title = next((title for title in sections if title.split()[:1] == [version]), None)
    if title is None or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", title):
        raise Mistake(f"CHANGELOG.md has no section `## {version} (year-month-day)`")
    if not sections[title]:
        raise Mistake(f"the section {title} of CHANGELOG.md is empty")


def sections_of(changelog: str) -> dict[str, str]:
    """The sections of a changelog by their titles, without subtitles."""
    parts = re.split(r"^## +(.+)$", changelog, flags=re.MULTILINE)[1:]
    texts = (re.sub(r"^###.*$", "", text, flags=re.MULTILINE).strip() for text in parts[1::2])
    return dict(zip(parts[::2], texts, strict=True))


# --- building


def build_sdist(project: Path, target: Path) -> Path:
    """Build the source distribution of a checkout."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", target, cwd=project)
    (sdist,) = target.glob("*.tar.gz")
    return sdist


def build_wheel(sdist: Path, target: Path) -> Path:
    """Build the wheel from the source distribution alone."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (project,) = Path(folder).iterdir()
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=project)
    (wheel,) = target.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Check the files of a wheel. Raises: Mistake."""
    names = set(zipfile.ZipFile(wheel).namelist())
    if missing := [name for name in NEEDED if name not in names]:
        raise Mistake(f"the wheel lacks {', '.join(missing)}")
    folders = {name.partition("/")[0] for name in names}
    if strange := sorted(name for name in folders - {"portal"} if not name.endswith(".dist-info")):
        raise Mistake(f"the wheel holds {', '.join(strange)}")


# --- testing


def try_wheel(wheel: Path, version: str) -> None:
    """Install a wheel in an empty environment, and use it. Raises: Mistake."""
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = Path(folder) / "elsewhere"
        elsewhere.mkdir()
        venv.create(Path(folder) / "venv", with_pip=True)
        programs = Path(folder) / "venv" / "bin"
        run(programs / "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=elsewhere)
        stated = run(programs / "portal", "--version", cwd=elsewhere)
        if stated != f"portal {version}":
            raise Mistake(f"the wheel of version {version} says {stated!r}")
        try_demo(programs / "portal", elsewhere)


def try_demo(portal: Path, folder: Path) -> None:
    """Start `portal demo`, wait until it serves, and stop it. Raises: Mistake."""
    address = f"127.0.0.1:{free_port()}"
    command = [str(portal), "demo", "--listen", address]
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as demo,
    ):
        try:
            use_demo(f"http://{address}", demo)
        except (Mistake, subprocess.TimeoutExpired) as error:
            output.seek(0)
            raise Mistake(f"{error}\n{output.read()}") from error
        finally:
            demo.kill()


def use_demo(url: str, demo: subprocess.Popen[bytes]) -> None:
    """Wait until a demo serves, and stop it. Raises: Mistake, subprocess.TimeoutExpired."""
    wait_until_ready(f"{url}/readyz", demo)
    for path in ("/", "/static/portal.css"):
        if status(url + path) != 200:
            raise Mistake(f"portal demo does not serve {path}")
    demo.send_signal(signal.SIGTERM)
    if (code := demo.wait(_STOP_SECONDS)) != 0:
        raise Mistake(f"portal demo ended with {code}")


def wait_until_ready(url: str, demo: subprocess.Popen[bytes]) -> None:
    """Wait until a portal can serve. Raises: Mistake when it ends, or takes too long."""
    deadline = time.monotonic() + _START_SECONDS
    while status(url) != 200:
        if demo.poll() is not None:
            raise Mistake(f"portal demo ended with {demo.returncode}")
        if time.monotonic() > deadline:
            raise Mistake(f"portal demo does not serve after {_START_SECONDS:.0f} seconds")
        time.sleep(0.1)


def status(url: str) -> int | None:
    """The status of the response, or None when there is no response."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def free_port() -> int:
    """An unused port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
