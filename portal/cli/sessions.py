"""`portal session list` and `end`: the logins of users, of one tenant or all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portal.cli.opened_portal import with_portal
from portal.cli.options import config_option, settings_of
from portal.cli.stored_tenants import checked_slug, operator_act, reason_option, time_text

if TYPE_CHECKING:
    from portal.admin.login_filter import LoginFilter
    from portal.admin.logins import ListedLogin
    from portal.app import RunningPortal

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN = 20
"""Logins that `end` prints before it asks."""
_AT_ONCE = 200
_WIDTHS = (16, 16, 20, 32, 22)
_HEAD = ("signed in", "last used", "tenant", "user", "session")
_TIME = 16


@click.group()
def session() -> None:
    """List and end the logins of users."""


def _checked_value(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from portal.admin.login_filter import LONGEST_VALUE

    if len(value) > LONGEST_VALUE:
        raise click.BadParameter(f"at most {LONGEST_VALUE} characters")
    return value


def _checked_tenant(context: click.Context, parameter: click.Parameter, slug: str | None) -> str | None:
    return None if slug is None else checked_slug(slug)


def _filter_options(command: Command) -> Command:
    """The options that say which logins."""
    options = (
        ("--issuer", "issuer", "URL", "Only logins of this issuer."),
        ("--device", "device", "TEXT", "Only browsers whose description has this text."),
        ("--session", "session_id", "ID", "Only the session with this id, as `list` prints it."),
        ("--user", "user", "TEXT", "Only the user with this subject or e-mail address, exactly."),
    )
    for flag, name, metavar, text in options:
        command = click.option(flag, name, default="", metavar=metavar, help=text, callback=_checked_value)(
            command
        )
    return click.option(
        "--tenant", metavar="NAME", help="Only this tenant. Default: all.", callback=_checked_tenant
    )(command)


@session.command(name="list")
@_filter_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@config_option
def list_sessions(
    *,
    tenant: str | None,
    user: str,
    session_id: str,
    device: str,
    issuer: str,
    as_json: bool,
    config: Path | None,
) -> int:
    """List logins: the tenants by name, the newest login of each first. Never prints tokens."""
    from portal.admin.login_filter import LoginFilter

    matching = LoginFilter(user, session_id, device, issuer)

    async def work(portal: RunningPortal) -> None:
        count = 0
        async for slug, found in _found(portal, tenant, matching):
            if as_json:
                click.echo(("[\n  " if count == 0 else ",\n  ") + _json(portal, slug, found), nl=False)
            else:
                for line in _lines(portal, slug, found, head=count == 0):
                    click.echo(line)
            count += 1
        if as_json:
            click.echo("\n]" if count else "[]")
        elif count == 0:
            click.echo("No login matches." if matching or tenant else "Nobody is signed in.")

    with_portal(settings_of(config), work)
    return 0


@session.command(name="end")
@_filter_options
@click.option("--all", "every", is_flag=True, help="Also without any other option: end all logins.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@config_option
def end_sessions(
    *,
    tenant: str | None,
    user: str,
    session_id: str,
    device: str,
    issuer: str,
    every: bool,
    yes: bool,
    reason: str,
    config: Path | None,
) -> int:
    """End logins and revoke their tokens, in running portals within five seconds.

    Prints what it will end, and asks. The session of a browser stays, with its logins at other tenants. Users
    can sign in again. Each login that ends is an event of its tenant.
    """
    from portal.admin.login_filter import LoginFilter

    matching = LoginFilter(user, session_id, device, issuer)
    if not (matching or tenant or every):
        raise click.UsageError("say which logins to end, such as --tenant NAME --user SUBJECT, or --all")

    async def work(portal: RunningPortal) -> int:
        asked_at, count = portal.portal.clock(), 0
        async for slug, found in _found(portal, tenant, matching):
            if count < _SHOWN:
                for line in _lines(portal, slug, found, head=count == 0):
                    click.echo(line)
            count += 1
        if count > _SHOWN:
            click.echo(f"… and {count - _SHOWN} more")
        if count == 0:
            click.echo("No login matches.")
            return 0
        if not yes:
            click.confirm(f"End {_logins(count)}?", abort=True)
        ended = 0
        async for slug, found in _found(portal, tenant, matching):
            if found.found.login.signed_in_at <= asked_at:  # later ones were not in the list
                ended += await portal.portal.admin.logins.end(slug, found.reference, operator_act(reason))
        click.echo(f"Ended {_logins(ended)}.")
        return ended

    with_portal(settings_of(config), work)
    return 0


async def _found(
    portal: RunningPortal, tenant: str | None, matching: LoginFilter
) -> AsyncIterator[tuple[str, ListedLogin]]:
    """The logins, with their tenants; in memory are those of one page."""
    logins = portal.portal.admin.logins
    for slug in [tenant] if tenant else sorted(one.slug for one in portal.portal.registry.all()):
        after = None
        while True:
            page = await logins.list(slug, after=after, most=_AT_ONCE, matching=matching)
            for one in page.logins:
                yield slug, one
            if (after := page.more_after) is None:
                break


def _lines(portal: RunningPortal, slug: str, listed: ListedLogin, *, head: bool) -> Iterator[str]:
    login = listed.found.login
    times = (time_text(at)[:_TIME] for at in (login.signed_in_at, listed.found.last_seen_at))
    if head:
        yield _row(_HEAD) + "browser, issuer (times in UTC)"
    user = login.subject
    if (email := _email(portal, listed)) is not None:
        user = f"{email} ({login.subject})"
    yield _row((*times, slug, user, login.session)) + _visible(
        ", ".join(filter(None, (listed.found.device, login.issuer)))
    )


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{_visible(cell):<{width}}  " for cell, width in zip(cells, _WIDTHS, strict=True))


def _visible(text: str) -> str:
    from portal.config.yaml_document import visible

    return visible(text, 300)


def _json(portal: RunningPortal, slug: str, listed: ListedLogin) -> str:
    login = listed.found.login
    return json.dumps(
        {
            "tenant": slug,
            "session": login.session,
            "subject": login.subject,
            "email": _email(portal, listed),
            "issuer": login.issuer,
            "provider": login.provider,
            "device": listed.found.device,
            "signed_in_at": _iso(login.signed_in_at),
            "last_used_at": _iso(listed.found.last_seen_at),
        }
    )


def _email(portal: RunningPortal, listed: ListedLogin) -> str | None:
    live = portal.portal.registry.get(listed.found.login.tenant)
    email = listed.found.login.claims.get(live.claims.email) if live is not None else None
    return email if isinstance(email, str) else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _logins(count: int) -> str:
    return "one login" if count == 1 else f"{count} logins"
