"""What `portal doctor` checks on this machine: settings, key ring, modes of files, and open files."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from portal.cli.doctor.model import Area, Result
from portal.clock import now
from portal.config.settings import Settings
from portal.errors import ConfigurationError, StartupError
from portal.keys.client_key_ring import load_client_keys
from portal.keys.key_ring import KeyRing
from portal.ops.descriptors import DEFAULT_CONNECTIONS, fitting_connections, reachable_limit
from portal.outbound.url_rules import is_loopback_host
from portal.stores.by_url import sqlite_path
from portal.tenancy.folder import tenant_files

OLDEST_KEY = 400 * 86400
"""Seconds. The alert PortalKeyOld has the same limit."""
_SETTINGS, _KEYS, _FILES, _LIMITS = Area("settings"), Area("keys"), Area("files"), Area("limits")
_MOUNTED_SECRETS = {Path("/run/secrets"), Path("/var/run/secrets")}
"""Container engines mount secrets there for the users of one container, readable by all of them."""
_DATABASE_FILES = ("", "-wal", "-shm")


def refused_settings(error: ConfigurationError) -> Iterator[Result]:
    """The problems of settings that cannot be used."""
    for problem in error.problems:
        yield _SETTINGS.failed(
            "settings", str(problem), "Correct it: docs/reference/settings.md has every key."
        )


def settings_results(settings: Settings, config: Path | None, environ: Iterable[str]) -> Iterator[Result]:
    """Settings that can be used, and defaults that seldom fit. Parameters: environ, names of variables."""
    count = sum(1 for name in environ if name.startswith("PORTAL_") and name != "PORTAL_CONFIG")
    source = "defaults" if config is None else str(config)
    yield _SETTINGS.passed("settings", f"{source}, and {count} variables" if count else source)
    if not is_loopback_host(settings.public_host):
        yield _SETTINGS.passed("public_url", settings.public_url)
    elif settings.allow_private_networks:
        yield _SETTINGS.warned(
            "public_url",
            f"{settings.public_url}, with allow_private_networks: only for development",
            "Set public_url to the address that browsers use, and allow_private_networks to false.",
        )
    else:
        yield _SETTINGS.warned(
            "public_url",
            f"{settings.public_url}: only browsers on this machine reach it",
            "Set `public_url` or PORTAL_PUBLIC_URL, or name the settings file with --config.",
        )


def key_results(settings: Settings) -> Iterator[Result]:
    """The key ring: whether it can be read, is private, and how old its keys are."""
    path = settings.keys
    if not path.exists():
        yield _KEYS.skipped(
            "key ring",
            f"there is no {path}: the first start creates it",
            "With several hosts, create it once with `portal key new` and copy it to each.",
        )
        return
    try:
        ring = KeyRing.load(path)
        load_client_keys(path)
    except ConfigurationError as error:
        for problem in error.problems:
            yield _KEYS.failed("key ring", str(problem), "Restore the file, or correct its mode.")
        return
    except StartupError as error:
        yield _KEYS.failed("key ring", error.message, error.remedy)
        return
    days = int(max(0.0, now() - ring.newest.created_at) // 86400)
    if now() - ring.newest.created_at > OLDEST_KEY:
        seen = f"the key that encrypts is {days} days old"
        yield _KEYS.warned("key ring", seen, "Replace it: portal key rotate --use vault")
    else:
        yield _KEYS.passed("key ring", f"{path}, {len(ring.kids)} vault keys, the newest {days} days old")
    if not os.access(path.parent, os.W_OK):
        yield _KEYS.warned(
            "key folder",
            f"{path.parent} is not writable: an older copy of the database is not recognized",
            "Make it writable for the portal's user, or run `portal store restored --yes` after a restore.",
        )


def file_results(settings: Settings, config: Path | None, secret_files: Iterable[Path]) -> Iterator[Result]:
    """Modes of files: who else can read what has secrets, or change what the portal reads.

    Parameters: secret_files, that tenant files name.
    """
    private, secret_files = [*_database_files(settings)], [*secret_files]
    trusted = [*secret_files, settings.keys.parent]
    trusted += [config] if config is not None else []
    trusted += [settings.tenants, *_tenant_files(settings.tenants)]
    if settings.presets is not None and settings.presets.is_dir():
        trusted.append(settings.presets)
    for path in private:
        if (mode := _mode(path)) & (stat.S_IRWXO | stat.S_IWGRP):
            seen = f"{path} can be read or changed by other users (mode {mode:04o})"
            yield _FILES.failed("mode", seen, f"Run: chmod go-w,o-rwx {path}")
    for path in trusted:
        if (mode := _mode(path)) & stat.S_IWOTH and not mode & stat.S_ISVTX:
            seen = f"{path} can be changed by other users (mode {mode:04o})"
            yield _FILES.failed("mode", seen, f"Run: chmod o-w {path}")
    for path in secret_files:
        if (mode := _mode(path)) & stat.S_IROTH and not _MOUNTED_SECRETS & set(path.parents):
            seen = f"{path}, which has a secret, can be read by other users (mode {mode:04o})"
            yield _FILES.warned("mode", seen, f"Run: chmod o-r {path}")
    yield from _database_folder(settings)
    yield _FILES.passed("mode", f"{len(private) + len(trusted)} files and folders were looked at")


def _tenant_files(folder: Path) -> list[Path]:
    """The tenant files; none when the folder cannot be read, which the check of the tenants reports."""
    try:
        return tenant_files(folder)
    except OSError:
        return []


def _database_files(settings: Settings) -> Iterator[Path]:
    path = sqlite_path(settings.database)
    for suffix in _DATABASE_FILES if path is not None else ():
        yield Path(f"{path}{suffix}")


def _database_folder(settings: Settings) -> Iterator[Result]:
    """SQLite makes files beside the database."""
    path = sqlite_path(settings.database)
    folder = next((one for one in path.parents if one.exists()), None) if path is not None else None
    if folder is not None and not os.access(folder, os.W_OK):
        seen = f"{folder} is not writable for this user: SQLite makes files there"
        yield _FILES.failed("database folder", seen, "Run as the portal's user, or make that user its owner.")


def _mode(path: Path) -> int:
    """The permissions of a file; 0 when there is none, or it cannot be seen: other checks report that."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def limit_results(settings: Settings) -> Iterator[Result]:
    """Open files: the portal raises the limit itself, as far as it may."""
    allowed = reachable_limit(*resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = settings.limits.connections or DEFAULT_CONNECTIONS
    fitting = fitting_connections(allowed)
    seen = f"{allowed} open files are allowed here: {max(0, fitting)} connections in each process"
    advice = (
        f"Raise it for {wanted} connections: LimitNOFILE in the systemd unit, ulimit -n, or the container."
    )
    if fitting < 1 or (settings.limits.connections is not None and fitting < wanted):
        yield _LIMITS.failed("open files", f"{seen}; the portal does not start", advice)
    elif fitting < wanted:
        yield _LIMITS.warned("open files", seen, advice)
    else:
        yield _LIMITS.passed("open files", seen)
