"""`portal store …` and `portal key adopt`: what an operator does with the database as a whole."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from portal.cli.options import config_option, settings_of
from portal.errors import ConfigurationError, Problem, StartupError

if TYPE_CHECKING:
    from portal.config.settings import Settings
    from portal.stores.store import Store

T = TypeVar("T")

_PROGRESS_SECONDS = 2.0
_DELETED_AT_ONCE = 1000

_MONGODB_BACKUP = """\
A MongoDB database is backed up with MongoDB's own tool; nothing was written. With the URL in PORTAL_DATABASE:

    umask 077; mongodump --uri="$PORTAL_DATABASE" --gzip --archive={file}

To restore it, stop every portal, then:

    mongorestore --uri="$PORTAL_DATABASE" --drop --gzip --archive={file}
    portal store restored --yes"""


@click.group()
def store() -> None:
    """Back up the database, and take a restored one into use."""


@store.command()
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup(file: Path, config: Path | None) -> int:
    """Copy the SQLite database to FILE while portals use it; never over a file that is there.

    FILE can be read by this user alone. For MongoDB, says how its own tool makes a backup, and exits with 2.
    """
    from portal.stores.by_url import sqlite_path
    from portal.stores.sqlite.backup import copy_database

    source = sqlite_path(settings_of(config).database)
    if source is None:
        click.echo(_MONGODB_BACKUP.format(file=file), err=True)
        return ConfigurationError.exit_code
    said = _Progress("{done} of {all} pages copied")
    copy_database(source, file, progress=lambda all_, done: said(all=all_, done=done))
    click.echo(f"Wrote {file}. Keep it apart from the key ring: together they open every token set.")
    return 0


@store.command()
@click.option("--yes", is_flag=True, help="Also when the database is not known to be an older copy.")
@config_option
def restored(yes: bool, config: Path | None) -> int:
    """Take a database that was restored from a backup into use. Stop every portal first.

    Deletes all sessions and logins in it: their refresh tokens may have been used since, and what users and
    providers have ended since would be back. Users sign in again. Everything else stays.
    """
    settings = settings_of(config)

    async def work(opened: Store) -> int:
        from portal.sessions.generation_check import GenerationCheck, GenerationRecord
        from portal.stores.by_url import without_password

        record = GenerationRecord(settings.keys, without_password(settings.database))
        check = GenerationCheck(opened, record, clock=opened.time)
        if not yes and not await _is_older(check.advance):
            message = "is not known to be an older copy; to sign every user out of it, add --yes"
            raise ConfigurationError([Problem("the database", message)])
        said, deleted = _Progress("{deleted} entries deleted"), 0
        while some := await opened.forget_sign_ins(most=_DELETED_AT_ONCE):
            deleted += some
            said(deleted=deleted)
        await check.assign_new_identity()
        return deleted

    deleted = _with_store(settings, work)
    click.echo(f"Deleted {deleted} entries of sign-ins. The portal can be started; users sign in again.")
    return 0


@click.command()
@config_option
def adopt(config: Path | None) -> int:
    """Let the database belong to this key ring, when the one it belongs to is lost.

    Logins that another key ring sealed are not deleted; as long as it is away, those users sign in again.
    """
    from portal.keys.key_ring import KeyRing
    from portal.keys.key_ring_check import adopt_key_ring

    settings = settings_of(config)
    ring = KeyRing.load(settings.keys)
    _with_store(settings, lambda opened: adopt_key_ring(opened, ring))
    click.echo(f"The database belongs to {settings.keys} now. Restart every portal with this key ring.")
    return 0


async def _is_older(advance: Callable[[], Awaitable[None]]) -> bool:
    try:
        await advance()
    except StartupError:
        return True
    return False


def _with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` with the open database. Raises ConfigurationError or StartupError."""
    import asyncio

    from portal.stores.by_url import startup_failures, store_for

    async def run() -> T:
        opened = store_for(settings.database)
        try:
            with startup_failures(settings.database):
                await opened.open()
                return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(run())


class _Progress:
    """Says how far something is, every two seconds, on standard error."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._next = time.monotonic() + _PROGRESS_SECONDS

    def __call__(self, **numbers: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_SECONDS
            click.echo(self._sentence.format(**numbers), err=True)
