"""`portal tenant invite`, `setup-links` and `revoke-setup-link`: setup links of tenants of the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from portal.cli.options import config_option, settings_of, warn_about_default_url
from portal.cli.store import with_store
from portal.cli.stored_tenants import file_of, operator_act, slug_argument, time_text

if TYPE_CHECKING:
    from portal.admin.setup_links import SetupLinks
    from portal.config.settings import Settings

T = TypeVar("T")

_LONGEST_NAME = 100


def _checked_name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise click.BadParameter(f"one line of at most {_LONGEST_NAME} characters")
    return name.strip()


def _seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    from portal.admin.setup_links import LONGEST_SECONDS, SHORTEST_SECONDS
    from portal.config.field_types import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise click.BadParameter("a duration of 1h to 90d, such as 12h or 7d")
    return seconds


@click.command()
@slug_argument
@click.option(
    "--name", default="", metavar="TEXT", help="Who the link is for; shown in lists.", callback=_checked_name
)
@click.option(
    "--valid",
    "seconds",
    default="7d",
    show_default=True,
    metavar="DURATION",
    help="How long the link is valid: 1h to 90d.",
    callback=_seconds,
)
@config_option
def invite(slug: str, name: str, seconds: float, config: Path | None) -> int:
    """Make a link with which somebody without a login sets up a tenant in the database.

    A tenant that is not there is made. The link works only in the browser in which it is started first.
    Prints the link on the last line; it cannot be printed again.
    """
    settings = settings_of(config)
    warn_about_default_url(config, settings)
    made = _with_setup_links(
        settings, lambda links: links.make(slug, operator_act(""), name=name, seconds=seconds)
    )
    click.echo(
        f"Setup link {made.link.id} of {slug}{f', for {name}' if name else ''}: valid until "
        f"{time_text(made.link.expires_at)}, only in the browser in which it is started first. "
        "Send it to nobody else:"
    )
    click.echo(made.url.reveal())
    return 0


@click.command(name="setup-links")
@slug_argument
@config_option
def list_setup_links(slug: str, config: Path | None) -> int:
    """List the setup links of a tenant in the database, the newest first."""
    from portal.admin.actors import actor_of
    from portal.config.yaml_document import visible

    async def work(links: SetupLinks) -> list[str]:
        found = await links.of_tenant(slug)
        return [
            f"{link.id}  {links.state(link):<10}  until {time_text(link.expires_at)}  "
            f"{visible(link.name, _LONGEST_NAME) or '-'}, by {visible(str(actor_of(link.author)))}"
            for link in found
        ]

    lines = _with_setup_links(settings_of(config), work)
    for line in lines or [f"{slug} has no setup links."]:
        click.echo(line)
    return 0


@click.command(name="revoke-setup-link")
@slug_argument
@click.argument("link_id", metavar="ID")
@config_option
def revoke_setup_link(slug: str, link_id: str, config: Path | None) -> int:
    """Revoke a setup link by its ID; whoever uses it is refused from then on."""
    from portal.admin.setup_link_errors import SetupLinkMissing
    from portal.admin.setup_links import is_link_id

    if not is_link_id(link_id):
        raise SetupLinkMissing("`portal tenant setup-links` prints the ids")
    _with_setup_links(settings_of(config), lambda links: links.revoke(slug, link_id, operator_act("")))
    click.echo(f"Revoked the setup link {link_id} of {slug}.")
    return 0


def _with_setup_links(settings: Settings, work: Callable[[SetupLinks], Awaitable[T]]) -> T:
    """Run `work` with the setup links of the open database. Raises PortalError."""
    from portal.admin.setup_links import SetupLinks

    return with_store(
        settings,
        lambda database: work(
            SetupLinks(
                database.tenants,
                public_url=settings.public_url,
                file_of=partial(file_of, settings),
                clock=database.time,
            )
        ),
    )


COMMANDS = (invite, list_setup_links, revoke_setup_link)
