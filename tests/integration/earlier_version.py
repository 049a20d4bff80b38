"""The wheel of the version before this one: of the latest release, or of the commit before this one.

`PORTAL_TEST_EARLIER` names another commit.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class NoEarlierVersion(Exception):
    """It cannot be had; the message says why."""


def extract_earlier_version(folder: Path) -> str:
    """Build the wheel of the version before, unpack it into `folder / "code"`, and return its name.

    A clone without history has neither tags nor the commit before. Raises NoEarlierVersion.
    """
    top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
    if top.resolve() != ROOT.resolve():
        raise NoEarlierVersion("this folder is not the top of a git checkout")
    tags = _git("tag", "--list", "v[0-9]*", "--merged", "HEAD", "--sort=-creatordate").decode().split()
    commit = os.environ.get("PORTAL_TEST_EARLIER") or (tags[0] if tags else "HEAD^")
    source = folder / "source"
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
        archive.extractall(source, filter="data")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "code")
    imported = subprocess.run(
        [sys.executable, "-c", "import portal; print(portal.__file__)"],
        cwd=folder / "code",
        env={**os.environ, "PYTHONPATH": str(folder / "code")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(imported.strip()).is_relative_to(folder), imported
    return f"{commit} ({_git('rev-parse', '--short', commit).decode().strip()})"


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise NoEarlierVersion("git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise NoEarlierVersion(f"git {arguments[0]}: {error.stderr.decode().strip()}") from error
