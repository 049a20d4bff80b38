"""`portal events`: print what was recorded, and follow it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal.admin.events import EventKind, Outcome
from portal.cli.options import config_option, settings_of
from portal.cli.store import Progress, with_store

if TYPE_CHECKING:
    from portal.admin.event_search import EventFilter
    from portal.stores.tenant_records import Event
    from portal.stores.tenant_store import Database

_FOLLOW_SECONDS = 1.0
_AGAIN_AT_ONCE = 1000
_OVERLAP_SECONDS = 30.0
"""Events are stored a little after they happened: when following, the latest are read again."""


@click.command()
@click.option("--tenant", metavar="SLUG", help="Only events of this tenant.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in EventKind]),
    metavar="KIND",
    help="Only events of this kind; repeatable. The kinds are in docs/reference/events.md.",
)
@click.option(
    "--outcome", type=click.Choice([outcome.value for outcome in Outcome]), help="Only this outcome."
)
@click.option("--since", metavar="DURATION", help="Only events of the last 90s, 10m, 12h or 7d.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.option("--follow", is_flag=True, help="Then print new events as they come, until Ctrl-C.")
@click.option("--set-aside", is_flag=True, help="Only those that the receiver of the webhook refused.")
@click.option(
    "--deliver-again", is_flag=True, help="Try to deliver all that were set aside again, and print how many."
)
@config_option
def events(
    *,
    tenant: str | None,
    kinds: tuple[str, ...],
    outcome: str | None,
    since: str | None,
    as_json: bool,
    follow: bool,
    set_aside: bool,
    deliver_again: bool,
    config: Path | None,
) -> int:
    """Print what was recorded, the oldest first: sign-ins, refusals, and acts on tenants.

    Portals may be running. With --follow and without --since, it begins with new events.
    """
    if set_aside and follow:
        raise click.UsageError("--set-aside and --follow exclude each other")
    if deliver_again and (tenant or kinds or outcome or since or as_json or follow or set_aside):
        raise click.UsageError("--deliver-again is for all events that were set aside, without other options")
    from portal.config.field_types import is_slug

    if tenant is not None and not is_slug(tenant):
        raise click.BadParameter("is not the name of a tenant", param_hint="--tenant")
    seconds = None if since is None else _seconds(since)
    settings = settings_of(config)
    if deliver_again:
        with_store(settings, _deliver_again)
        return 0

    async def work(opened: Database) -> int:
        from portal.admin.event_search import EventFilter

        begins = 0.0 if seconds is None and not follow else opened.time() - (seconds or 0.0)
        wanted = EventFilter(tenant, kinds, outcome or "", since=max(0.0, begins))
        printer = _Printer(opened, wanted, as_json=as_json)
        await (printer.print_set_aside() if set_aside else printer.print_stored())
        if follow:
            await printer.follow()
        return printer.printed

    with_store(settings, work)
    return 0


async def _deliver_again(opened: Database) -> int:
    count = 0
    while True:
        some = await opened.tenants.deliver_again(most=_AGAIN_AT_ONCE)
        count += some
        if some < _AGAIN_AT_ONCE:
            break  # a running portal may have set some aside again already
    many = "One event waits for its" if count == 1 else f"{count} events wait for their"
    click.echo("Nothing was set aside." if count == 0 else f"{many} delivery again.")
    return count


def _seconds(text: str) -> float:
    from pydantic_core import PydanticCustomError

    from portal.config.field_types import parse_duration

    try:
        return parse_duration(text)
    except PydanticCustomError as error:
        raise click.BadParameter(f"must be {error.message()}", param_hint="--since") from None


class _Printer:
    """Prints events that match, each once."""

    def __init__(self, database: Database, wanted: EventFilter, *, as_json: bool) -> None:
        self._database = database
        self._wanted = wanted
        self._as_json = as_json
        self._progress = Progress("{read} events read, {printed} printed")
        self._seen: set[str] = set()
        """Ids that could be read again."""
        self._last = ""
        self.printed = 0

    async def print_stored(self, after: str = "") -> None:
        """Print what is stored now. Raises StoreUnavailable. Parameters: after, an id."""
        from portal.admin.event_search import oldest_first

        read = 0
        async for page in oldest_first(self._database.tenants, self._wanted, after=after):
            for event in page:
                if event.id not in self._seen and self._wanted.matches(event):
                    self._print(event)
            read += len(page)
            self._remember(page)
            if not after:
                self._progress(read=read, printed=self.printed)

    async def print_set_aside(self) -> None:
        """Print the events that were set aside. Raises StoreUnavailable."""
        from portal.admin.event_search import PAGE

        after = self._wanted.first
        while page := await self._database.tenants.list_set_aside(after=after, most=PAGE):
            for event in page:
                if self._wanted.tenant in (None, event.tenant) and self._wanted.matches(event):
                    self._print(event)
            after = page[-1].id

    def _print(self, event: Event) -> None:
        click.echo(_json_line(event) if self._as_json else event_text(event))
        self.printed += 1

    async def follow(self) -> None:
        """Print new events until it is cancelled. A database that fails is asked again."""
        import asyncio

        from portal.errors import StoreUnavailable

        failing = False
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            try:
                await self._database.maintain()
                await self.print_stored(after=self._overlap())
            except StoreUnavailable as error:
                if not failing:
                    click.secho(f"The database does not respond; trying again: {error.detail}", err=True)
                failing = True
            else:
                failing = False

    def _overlap(self) -> str:
        """The id after which to read again."""
        from portal.stores.tenant_records import earliest_event_id

        latest = self._database.time()  # an event can have a later time, if a clock was ahead
        if self._last:
            latest = min(latest, int(self._last[:12], 16) / 1000)
        return earliest_event_id(max(0.0, latest - _OVERLAP_SECONDS))

    def _remember(self, page: list[Event]) -> None:
        """Keep the ids that `_overlap` will read again, and no others."""
        if not page:
            return
        self._last = max(self._last, page[-1].id)
        oldest = self._overlap()
        self._seen = {known for known in self._seen if known > oldest}
        self._seen.update(event.id for event in page if event.id > oldest)


def _json_line(event: Event) -> str:
    from portal.admin.event_json import event_line

    return event_line(event)


def event_text(event: Event) -> str:
    """An event as one line for people; what strangers wrote cannot control the terminal."""
    from portal.admin.actors import actor_of
    from portal.display_text import display_text

    at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(event.at))
    refused = " refused" if event.outcome != Outcome.DONE else ""
    parts = [at, event.tenant or "-", event.kind + refused, display_text(str(actor_of(event.actor)))]
    parts += [display_text(each) for each in (event.target, event.client) if each]
    if event.reason:
        parts.append(f"({display_text(event.reason)})")
    return "  ".join(parts)
