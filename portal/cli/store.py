"""`portal store …` and `portal key adopt`: check, back up, restore and adopt a database."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from portal.cli.options import config_option, log_to_stderr, settings_of
from portal.errors import ConfigurationError, Problem, StartupError

if TYPE_CHECKING:
    from portal.config.settings import Settings
    from portal.stores.store import Store
    from portal.stores.tenant_store import Database

T = TypeVar("T")

_PROGRESS_SECONDS = 2.0
_DELETED_AT_ONCE = 1000

_MONGODB_BACKUP = """\
Back up a MongoDB database with MongoDB's own tool; nothing was written. With the URL in PORTAL_DATABASE:

    umask 077; mongodump --uri="$PORTAL_DATABASE" --gzip --archive={file}

To restore it, stop every portal, then:

    mongorestore --uri="$PORTAL_DATABASE" --drop --gzip --archive={file}
    portal store restored --yes"""


@click.group()
def store() -> None:
    """Check and back up the database, and prepare a restored one for use."""


@store.command()
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup(file: Path, config: Path | None) -> int:
    """Copy the SQLite database to FILE while portals use it. Never overwrites an existing file.

    Only this user can read FILE. For MongoDB, prints how to use MongoDB's own tool, and exits with 2.
    """
    from portal.stores.by_url import sqlite_path
    from portal.stores.sqlite.backup import copy_database

    source = sqlite_path(settings_of(config).database)
    if source is None:
        click.echo(_MONGODB_BACKUP.format(file=file), err=True)
        return ConfigurationError.exit_code
    report_progress = Progress("{done} of {all} pages copied")
    copy_database(source, file, progress=lambda all_, done: report_progress(all=all_, done=done))
    click.echo(f"Wrote {file}. Store it apart from the key ring: together they reveal every token.")
    return 0


@store.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option(
    "--most",
    type=click.IntRange(1, 1_000_000),
    default=10,
    show_default=True,
    metavar="NUMBER",
    help="How many entries with the same problem are named; all are counted.",
)
@config_option
def check(as_json: bool, most: int, config: Path | None) -> int:
    """Read every entry of the database and name those that this portal cannot use. Changes nothing.

    It finds entries that are damaged or of an unknown format, sealed with a key that the key ring lacks, or
    of a tenant that does not exist. Portals may be running. Exits with 1 when it finds something.
    """
    from portal.cli.store_check import check_store

    report_progress = Progress("{done} of about {all} entries read")

    def progress(done: int, all_: int) -> None:
        report_progress(done=done, all=all_)

    return check_store(settings_of(config), most=most, as_json=as_json, progress=progress)


@store.command()
@click.option("--yes", is_flag=True, help="Also if the database is not recognized as an older copy.")
@config_option
def restored(yes: bool, config: Path | None) -> int:
    """Prepare a database that was restored from a backup for use. Stop every portal first.

    Deletes all its sessions and logins: their refresh tokens may have been used since the backup, and logins
    that have ended since would be valid again. Users sign in again. Everything else stays. If it is
    interrupted, no portal serves the database until it is run again.
    """
    settings = settings_of(config)

    async def work(opened: Store) -> int:
        from portal.sessions.generation_check import GenerationCheck, GenerationRecord
        from portal.stores.by_url import without_password

        record = GenerationRecord(settings.keys, without_password(settings.database))
        check = GenerationCheck(opened, record, clock=opened.time)
        if not yes and not await _is_older(check.advance):
            message = "is not recognized as an older copy; to sign out all its users anyway, add --yes"
            raise ConfigurationError([Problem("the database", message)])
        await check.refuse_to_all()
        report_progress, deleted = Progress("{deleted} entries deleted"), 0
        while some := await opened.forget_sign_ins(most=_DELETED_AT_ONCE):
            deleted += some
            report_progress(deleted=deleted)
        await check.assign_new_identity()
        return deleted

    deleted = with_store(settings, work)
    click.echo(f"Deleted {deleted} sign-in entries. The portal can be started; users sign in again.")
    return 0


@click.command()
@config_option
def adopt(config: Path | None) -> int:
    """Assign the database to this key ring, after its key ring was lost.

    Logins that the lost key ring encrypted stay in the database; while it is missing, those users sign in
    again.
    """
    from portal.keys.key_ring import KeyRing
    from portal.keys.key_ring_check import adopt_key_ring

    settings = settings_of(config)
    ring = KeyRing.load(settings.keys)
    with_store(settings, lambda opened: adopt_key_ring(opened, ring))
    click.echo(f"The database now belongs to {settings.keys}. Restart every portal with this key ring.")
    return 0


async def _is_older(advance: Callable[[], Awaitable[None]]) -> bool:
    try:
        await advance()
    except StartupError:
        return True
    return False


def with_store(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` with the open database. Raises ConfigurationError or StartupError."""
    import asyncio

    from portal.stores.by_url import startup_failures, store_for

    log_to_stderr(settings)

    async def run() -> T:
        opened = store_for(settings.database)
        try:
            with startup_failures(settings.database):
                await opened.open()
                return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(run())


class Progress:
    """Prints progress on standard error every two seconds."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._next = time.monotonic() + _PROGRESS_SECONDS

    def __call__(self, **numbers: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_SECONDS
            click.echo(self._sentence.format(**numbers), err=True)
