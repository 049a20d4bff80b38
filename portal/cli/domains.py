"""`portal tenant domains` and `approve`: host names and e-mail domains of tenants of the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal.cli.opened_domains import opened_domains
from portal.cli.options import config_option, settings_of
from portal.cli.store import with_store
from portal.cli.stored_tenants import operator_act, reason_option, slug_argument, time_text
from portal.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from portal.admin.domains import Domain
    from portal.stores.tenant_store import Database


def _checked_domain(context: click.Context, parameter: click.Parameter, name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from portal.config.field_types import HostName

    try:
        return TypeAdapter(HostName).validate_python(name)
    except ValidationError:
        message = "is not a host name or e-mail domain, such as portal.acme.example"
        raise ConfigurationError([Problem(name, message)]) from None


@click.command()
@slug_argument
@config_option
def domains(slug: str, config: Path | None) -> int:
    """List the host names and e-mail domains of a tenant in the database.

    With what proves each, and the TXT record that would prove it.
    """
    settings = settings_of(config)

    async def work(database: Database) -> tuple[Domain, ...]:
        return await (await opened_domains(settings, database)).of_tenant(slug)

    found = with_store(settings, work)
    if not found:
        click.echo(f"{slug} states no host names and no e-mail domains.")
    for domain in found:
        click.echo(f"{domain.name}: {_state(domain)}")
        if not domain.counts:
            click.echo(f"  TXT record  {domain.record}")
    return 0


def _state(domain: Domain) -> str:
    from portal.admin.domains import DomainState

    said = {
        DomainState.WAITING: "waits for its TXT record",
        DomainState.PROVEN: f"proven by its TXT record, seen {time_text(domain.checked_at)}",
        DomainState.APPROVED: f"approved by an operator, {time_text(domain.checked_at)}",
        DomainState.MISSING: f"its TXT record is missing; it counts until {time_text(domain.counts_until)}",
        DomainState.LOST: f"its TXT record is gone; it does not count since {time_text(domain.checked_at)}",
    }[domain.state]
    if not domain.kinds:
        return f"{said}; neither the live revision nor the draft states it"
    return said if domain.in_live else f"{said}; only the draft states it"


@click.command()
@slug_argument
@click.argument("name", callback=_checked_domain)
@reason_option
@config_option
def approve(slug: str, name: str, reason: str, config: Path | None) -> int:
    """Let the host name or e-mail domain NAME of a tenant in the database count without a TXT record."""
    settings = settings_of(config)

    async def work(database: Database) -> bool:
        domains = await opened_domains(settings, database)
        await domains.approve(slug, name, operator_act(reason))
        return any(domain.counts for domain in await domains.of_tenant(slug) if domain.name == name)

    counts = with_store(settings, work)
    effect = "Portals follow within seconds." if counts else "It counts when the draft is published."
    click.echo(f"Approved {name} for {slug}. {effect}")
    return 0


COMMANDS = (domains, approve)
