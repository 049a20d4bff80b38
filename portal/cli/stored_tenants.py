"""`portal tenant import`, `export`, `diff`, `history` and so on: tenants of the database."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from portal.cli.opened_domains import opened_domains
from portal.cli.options import config_option, settings_of
from portal.cli.store import with_store
from portal.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from portal.admin.closing import Closed, Closing
    from portal.admin.events import Act
    from portal.admin.logins import StoredTenantLogins
    from portal.admin.tenants import TenantAdmin
    from portal.config.settings import Settings
    from portal.stores.tenant_records import TenantStatus
    from portal.stores.tenant_store import Database

T = TypeVar("T")

_SERVED = "Every portal on this database serves it within seconds."
_LONGEST_REASON = 1000
_NUMBERS = click.IntRange(1, 2**53)


def _checked_slug(context: click.Context, parameter: click.Parameter, slug: str) -> str:
    return checked_slug(slug)


def _checked_reason(context: click.Context, parameter: click.Parameter, reason: str) -> str:
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise click.BadParameter(f"one line of at most {_LONGEST_REASON} characters")
    return reason


slug_argument = click.argument("slug", callback=_checked_slug)
reason_option = click.option(
    "--reason", default="", metavar="TEXT", help="Why, for the history.", callback=_checked_reason
)


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--slug", metavar="NAME", help="Name of the tenant. Default: that of FILE.")
@reason_option
@config_option
def import_tenant(file: Path, slug: str | None, reason: str, config: Path | None) -> int:
    """Publish a tenant FILE as the next revision of a tenant in the database.

    Secrets that FILE names (${NAME}, file:/path) are read and sealed. Its host names and e-mail domains count
    as approved by you. While the tenants folder has a file of the same name, that file is served.
    """
    from portal.tenancy.loading import slug_of

    settings = settings_of(config)
    name = slug_of(file) if slug is None else checked_slug(slug)
    typed = _TypedFile(file)

    async def work(admin: TenantAdmin, database: Database) -> int:
        with typed.places_of(name):
            revision, _ = await admin.publish(name, typed.text, operator_act(reason), resolve=typed.resolve)
        domains = await opened_domains(settings, database)
        for claimed, owner in (await domains.approve_all(revision, operator_act(reason))).items():
            click.echo(f"{claimed} belongs to {owner} and does not count for {name}.", err=True)
        return revision.number

    number = _with_admin(settings, work)
    click.echo(f"Published {name} as revision {number}. {_SERVED}")
    _warn_about_file(settings, name)
    return 0


@click.command(name="export")
@slug_argument
@click.option("--revision", type=_NUMBERS, metavar="NUMBER", help="Default: the live one.")
@config_option
def export_tenant(slug: str, revision: int | None, config: Path | None) -> int:
    """Print a tenant of the database as a tenant file. Secrets are printed as hashes.

    The same database takes the hashes for the secrets that it has; for another, type the secrets again.
    """
    from portal.admin.content import shown

    content = _with_admin(settings_of(config), lambda admin, _: admin.revision(slug, revision)).content
    click.echo(shown(content, slug), nl=False)
    return 0


@click.command(name="diff")
@slug_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@config_option
def compare_tenant(slug: str, file: Path, config: Path | None) -> int:
    """Print what importing FILE would change of a tenant in the database. Exits with 1 if anything."""
    typed = _TypedFile(file)

    async def work(admin: TenantAdmin, database: Database) -> str:
        with typed.places_of(slug):
            return await admin.difference(slug, typed.text, resolve=typed.resolve)

    changes = _with_admin(settings_of(config), work)
    click.echo(changes or f"{file} is the same as the live revision.")
    return 1 if changes else 0


@click.command()
@slug_argument
@config_option
def history(slug: str, config: Path | None) -> int:
    """List the revisions of a tenant in the database, the newest first."""
    from portal.admin.tenants import author
    from portal.config.yaml_document import visible

    async def work(admin: TenantAdmin, database: Database) -> list[str]:
        record, revisions = await admin.get(slug), await admin.history(slug)
        return [f"{slug}: {record.status}"] + [
            f"{one.number:>5}  {'live' if one.number == record.live else '    '}  "
            f"{time_text(one.published_at)}  {visible(author(one))}"
            f"{f': {visible(one.reason, _LONGEST_REASON)}' if one.reason else ''}"
            for one in revisions
        ]

    for line in _with_admin(settings_of(config), work):
        click.echo(line)
    return 0


@click.command()
@slug_argument
@click.argument("revision", type=_NUMBERS)
@reason_option
@config_option
def rollback(slug: str, revision: int, reason: str, config: Path | None) -> int:
    """Publish an earlier REVISION of a tenant in the database again."""
    made = _with_admin(
        settings_of(config), lambda admin, _: admin.roll_back(slug, revision, operator_act(reason))
    )
    click.echo(f"Published revision {revision} of {slug} again, as revision {made.number}. {_SERVED}")
    return 0


@click.command()
@slug_argument
@click.option("--keep-logins", is_flag=True, help="Who is signed in stays; nobody else can sign in.")
@reason_option
@config_option
def suspend(slug: str, keep_logins: bool, reason: str, config: Path | None) -> int:
    """Close a tenant of the database: nobody can sign in, and everybody is signed out."""
    from portal.stores.tenant_records import TenantStatus

    if keep_logins:
        return _set_status(slug, TenantStatus.NO_NEW_LOGINS, reason, config)
    return _set_status(slug, TenantStatus.SUSPENDED, reason, config)


@click.command()
@slug_argument
@reason_option
@config_option
def resume(slug: str, reason: str, config: Path | None) -> int:
    """Open a suspended tenant of the database again."""
    from portal.stores.tenant_records import TenantStatus

    return _set_status(slug, TenantStatus.LIVE, reason, config)


@click.command()
@slug_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@config_option
def remove(slug: str, yes: bool, reason: str, config: Path | None) -> int:
    """Remove a tenant from the database, with its revisions and logins. Its events stay.

    Logins stay when the tenants folder has a file of the same name, which is served.
    """
    settings = settings_of(config)
    file = file_of(settings, slug)
    if not yes:
        effect = f"; {file} stays" if file is not None else ", and sign everybody out"
        click.confirm(f"Remove {slug} with all its revisions{effect}?", abort=True)

    async def work(admin: TenantAdmin, database: Database) -> int:
        return await _closing(admin, database, settings).remove(slug, operator_act(reason))

    ended = _with_admin(settings, work)
    if file is not None:
        click.echo(f"Removed {slug} from the database; {file} is served.")
    else:
        click.echo(f"Removed {slug}; ended {ended} logins. Portals stop serving it within seconds.")
    return 0


def _set_status(slug: str, status: TenantStatus, reason: str, config: Path | None) -> int:
    from portal.stores.tenant_records import TenantStatus

    settings = settings_of(config)

    async def work(admin: TenantAdmin, database: Database) -> Closed:
        return await _closing(admin, database, settings).set_status(slug, status, operator_act(reason))

    closed = _with_admin(settings, work)
    done = {
        TenantStatus.LIVE: f"{slug} is open.",
        TenantStatus.NO_NEW_LOGINS: f"{slug} accepts no new sign-ins; who is signed in stays.",
        TenantStatus.SUSPENDED: f"{slug} is suspended; ended {closed.ended} logins.",
    }[status]
    click.echo(done + (" Portals follow within seconds." if closed.changed else " Nothing changed."))
    _warn_about_file(settings, slug)
    return 0


def _closing(admin: TenantAdmin, database: Database, settings: Settings) -> Closing:
    from portal.admin.closing import Closing

    return Closing(admin, _logins(database, settings))


def _logins(database: Database, settings: Settings) -> StoredTenantLogins:
    from portal.admin.logins import StoredTenantLogins

    return StoredTenantLogins(
        database.tenant_logins,
        has_file=lambda slug: file_of(settings, slug) is not None,
        clock=database.time,
    )


def _with_admin(settings: Settings, work: Callable[[TenantAdmin, Database], Awaitable[T]]) -> T:
    """Run `work` with the tenants of the open database. Raises PortalError."""
    from portal.admin.tenants import TenantAdmin
    from portal.keys.key_ring import KeyRing
    from portal.keys.key_ring_check import check_key_ring
    from portal.keys.vault import Vault
    from portal.tenancy.available_presets import available_presets
    from portal.tenancy.stored import ContentReader, may_use_private_networks

    ring = KeyRing.load(settings.keys)
    reader = ContentReader(
        Vault(ring), available_presets(settings.presets), may_use_private_networks(settings)
    )

    async def with_key_ring(database: Database) -> T:
        await check_key_ring(database, ring)
        end_logins = _logins(database, settings).end
        admin = TenantAdmin(database.tenants, reader, end_logins=end_logins, clock=database.time)
        return await work(admin, database)

    return with_store(settings, with_key_ring)


class _TypedFile:
    """A tenant file to publish in the database. Raises ConfigurationError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        from portal.config.load_context import LoadContext, SecretFiles
        from portal.config.yaml_document import MAX_BYTES, read_bytes

        self._path = path
        self._context = LoadContext(SecretFiles(path.parent), environ=os.environ)
        try:
            self.text = read_bytes(path, name=str(path), limit=MAX_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigurationError([Problem(str(path), "is not UTF-8; save the file as UTF-8")]) from None

    def resolve(self, text: str) -> str:
        """Return the secret that a value of the file stands for. Raises ValueError."""
        from portal.config.secret_references import resolve_reference

        return resolve_reference(text, self._context)

    @contextlib.contextmanager
    def places_of(self, slug: str) -> Iterator[None]:
        """Report problems of the tenant at their places in the file."""
        try:
            yield
        except ConfigurationError as error:
            raise ConfigurationError(
                [
                    Problem(f"{self._path}{problem.place.removeprefix(slug)}", problem.message)
                    for problem in error.problems
                ]
            ) from None


def operator_act(reason: str) -> Act:
    """An act of the operator at this command line."""
    from portal.admin.actors import Actor, ActorType
    from portal.admin.events import Act

    try:
        account = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        account = str(os.getuid())
    return Act(Actor(ActorType.OPERATOR, account), reason=reason)


def checked_slug(slug: str) -> str:
    """Return a tenant's name. Raises ConfigurationError when it is not one."""
    from portal.config.field_types import is_slug

    if not is_slug(slug):
        message = "is not a valid tenant name: use lower-case letters, digits and hyphens, at most 63"
        raise ConfigurationError([Problem(slug, message)])
    return slug


def file_of(settings: Settings, slug: str) -> Path | None:
    """The tenant's file, which is served in place of what the database has."""
    from portal.tenancy.loading import SUFFIXES

    paths = (settings.tenants / f"{slug}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def _warn_about_file(settings: Settings, slug: str) -> None:
    path = file_of(settings, slug)
    if path is not None:
        click.secho(f"{path} is served in its place: remove that file.", err=True, fg="yellow")


def time_text(seconds: float) -> str:
    """A time for people, to the minute, in UTC. Parameters: seconds, since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


COMMANDS = (import_tenant, export_tenant, compare_tenant, history, rollback, suspend, resume, remove)
