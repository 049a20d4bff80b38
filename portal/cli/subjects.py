"""`portal subject export` and `erase`: what is stored of a person at a tenant (GDPR articles 15 and 17)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portal.cli.opened_portal import with_portal
from portal.cli.options import config_option, settings_of
from portal.cli.store import Progress
from portal.cli.stored_tenants import checked_slug, operator_act, reason_option
from portal.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from portal.admin.person import Person
    from portal.admin.subjects import StoredOfPerson
    from portal.app import RunningPortal

Command = TypeVar("Command", bound=Callable[..., Any])

_MOST_TEXTS = 20
_NOTHING = "Nothing is stored of this subject at {tenant}."


@click.group()
def subject() -> None:
    """Export or erase what is stored of a person at a tenant."""


def _checked_tenant(context: click.Context, parameter: click.Parameter, slug: str) -> str:
    return checked_slug(slug)


def _checked_subject(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from portal.admin.login_filter import LONGEST_VALUE

    if not value or len(value) > LONGEST_VALUE:
        raise click.BadParameter(f"1 to {LONGEST_VALUE} characters")
    return value


def _checked_texts(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    from portal.admin.person import SHORTEST_TEXT

    if len(values) > _MOST_TEXTS or any(len(value) < SHORTEST_TEXT for value in values):
        raise click.BadParameter(f"at most {_MOST_TEXTS}, each of {SHORTEST_TEXT} or more characters")
    return values


def _person_options(command: Command) -> Command:
    """The options that say who."""
    command = click.option(
        "--also",
        multiple=True,
        metavar="TEXT",
        help="A name or e-mail address of the person, to find in reasons and names of setup links; "
        "repeatable. The e-mail addresses of the person's logins are found without it.",
        callback=_checked_texts,
    )(command)
    command = click.option(
        "--issuer", metavar="URL", help="Only the account at this issuer. Default: at any."
    )(command)
    command = click.option(
        "--subject",
        "sub",
        required=True,
        metavar="TEXT",
        help="The subject (sub) of the person, exactly. `portal session list --user EMAIL` prints it.",
        callback=_checked_subject,
    )(command)
    return click.option("--tenant", required=True, metavar="NAME", callback=_checked_tenant)(command)


@subject.command(name="export")
@_person_options
@reason_option
@config_option
def export_subject(
    *,
    tenant: str,
    sub: str,
    issuer: str | None,
    also: tuple[str, ...],
    reason: str,
    config: Path | None,
) -> int:
    """Print what is stored of a person as JSON: logins with their claims, and all that names the person.

    Never prints tokens. The export is an event of the tenant.
    """
    from portal.admin.subject_export import export_text

    person = _person(tenant, sub, issuer, also)

    async def work(portal: RunningPortal) -> None:
        subjects = portal.portal.admin.subjects
        found = await subjects.find(person, _progress())
        if found:
            await subjects.report_export(found, operator_act(reason))
        else:  # an event would store the subject
            click.echo(_NOTHING.format(tenant=tenant), err=True)
        click.echo(export_text(found, at=portal.portal.clock()))

    with_portal(settings_of(config), work)
    return 0


@subject.command(name="erase")
@_person_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@config_option
def erase_subject(
    *,
    tenant: str,
    sub: str,
    issuer: str | None,
    also: tuple[str, ...],
    yes: bool,
    reason: str,
    config: Path | None,
) -> int:
    """End the logins of a person, and replace the person in events and records by a pseudonym.

    Prints what it will change, and asks. Logins end in running portals within five seconds, and their tokens
    are revoked. Events keep what was done and when. Nobody can undo it. The person can sign in again: remove
    or lock the account at the provider first.
    """
    person = _person(tenant, sub, issuer, also)

    async def work(portal: RunningPortal) -> None:
        subjects = portal.portal.admin.subjects
        found = await subjects.find(person, _progress())
        if not found:
            click.echo(_NOTHING.format(tenant=tenant))
            return
        if len(found.issuers) > 1:
            issuers = ", ".join(sorted(found.issuers))
            message = f"has this subject at several issuers; add --issuer with one of: {issuers}"
            raise ConfigurationError([Problem(tenant, message)])
        for line in _summary(found):
            click.echo(line)
        if not yes:
            click.confirm("Erase this person? It cannot be undone.", abort=True)
        pseudonym, ended = await subjects.erase(found, operator_act(reason))
        click.echo(f"Ended {_count(ended, 'login')}. The records now name {pseudonym}.")
        click.echo("Run it again in a minute: it finds what running portals have written meanwhile.")

    with_portal(settings_of(config), work)
    return 0


def _person(tenant: str, sub: str, issuer: str | None, also: tuple[str, ...]) -> Person:
    from portal.admin.person import Person

    return Person(tenant, sub, frozenset({issuer}) if issuer else None, frozenset(also))


def _progress() -> Callable[[int], None]:
    report = Progress("{read} entries read")
    return lambda read: report(read=read)


def _summary(found: StoredOfPerson) -> list[str]:
    from portal.config.yaml_document import visible

    tests = sum(len(one.tests) for one in found.drafts)
    return [
        f"{found.person.tenant}: {visible(found.person.subject, 300)}",
        f"  {_count(len(found.logins), 'login')}: ended, with the session if it has no other login",
        f"  {_count(len(found.events), 'event')}: the person is replaced by a pseudonym",
        f"  {_count(len(found.revisions), 'revision')}: the same",
        f"  {_count(len(found.drafts), 'draft')}: the same; {_count(tests, 'test login')} deleted",
        f"  {_count(len(found.links), 'setup link')}: the same",
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
