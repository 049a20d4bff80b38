"""Reads and writes the key ring file: atomically, under a lock, and only if other users cannot read it.

    {"keys": [{"kid": "…", "use": "vault", …}, {"kid": "…", "use": "sig", …}, …]}

The members of an entry depend on its `use`; see `key_ring` for `vault` and `client_key_ring` for the others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portal.errors import ConfigurationError, Problem, StartupError

_LARGEST_FILE = 1024 * 1024

Document = dict[str, Any]
Fingerprint = tuple[int, int, int, int]


def problem(path: Path, message: str) -> ConfigurationError:
    """Make the error for an invalid key ring file."""
    return ConfigurationError([Problem(str(path), message)])


def unusable(path: Path, verb: str, error: OSError) -> StartupError:
    """Make the error for a key ring file that the system does not allow to be `read` or `written`."""
    return StartupError(
        f"The key ring {path} cannot be {verb}: {error.strerror or type(error).__name__}.",
        remedy="Make the portal's user the owner of the file and its folder, or set `keys` to another path.",
    )


def fingerprint(status: os.stat_result) -> Fingerprint:
    """A value that changes when the file is replaced or written."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


# --- reading


def read(path: Path) -> tuple[Document, Fingerprint]:
    """Read a key ring file; the caller validates its entries.

    Raises ConfigurationError when it is missing, readable by others, or not a key ring; StartupError.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise problem(path, "is not a regular file")
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise problem(path, "is missing; create it with `portal key new`, or restore a backup") from None
    except OSError as error:
        raise unusable(path, "read", error) from None
    if status.st_mode & 0o077:
        found = f"{status.st_mode & 0o777:04o}"
        raise problem(path, f"can be read by others (mode {found}); run `chmod 600 {path}`")
    if len(content) > _LARGEST_FILE:
        raise problem(path, f"is larger than {_LARGEST_FILE} bytes; this is not a key ring")
    return _parse(path, content), fingerprint(status)


def _opened(path: str, flags: int) -> int:
    """Open without waiting: a named pipe would wait for somebody who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(path: Path, content: bytes) -> Document:
    remedy = "restore the file from a backup"
    try:
        document = json.loads(content)
    except UnicodeDecodeError:
        raise problem(path, f"is not UTF-8 text; {remedy}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise problem(path, f"is not JSON ({error.msg} at {place}); {remedy}") from None
    except ValueError:  # Python parses no integer of more than 4,300 digits
        raise problem(path, f"is not a key ring (a number is too long); {remedy}") from None
    except RecursionError:
        raise problem(path, f"is not a key ring (nested too deeply); {remedy}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise problem(path, f'is not a key ring (expected {{"keys": [...]}}); {remedy}')
    return document


def created_at(entry: Document) -> float | None:
    """The creation time of a key in seconds since the epoch; None when it is missing or invalid."""
    value = entry.get("created_at")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


# --- writing


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the key ring file against other writers. Creates a missing folder."""
    try:
        path = path.resolve()  # one lock for all names of the file
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except RuntimeError:  # circular links, in Python 3.11 and 3.12
        raise problem(path, "is a circular link") from None
    except OSError as error:
        raise unusable(path, "written", error) from None
    try:
        _keep_owner(path, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, document: Document) -> None:
    """Replace the file atomically; it is on the disk before its newest key is used."""
    target = path.resolve()
    content = json.dumps(document, indent=2).encode() + b"\n"
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                _keep_owner(target, file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise unusable(path, "written", error) from None


def _keep_owner(target: Path, descriptor: int) -> None:
    """Keep the owner of the old file when root writes the new one."""
    with contextlib.suppress(FileNotFoundError):
        old = target.stat()
        if os.geteuid() == 0 and (old.st_uid, old.st_gid) != (0, 0):
            os.fchown(descriptor, old.st_uid, old.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
