"""What `portal doctor` checks of the database, without changing it."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from pathlib import Path

from portal.cli.doctor.model import Area, Result
from portal.config.settings import Settings
from portal.errors import ConfigurationError, StartupError
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_check import KEY_RING
from portal.stores.by_url import examination_for, inspection_for, startup_failures, without_password
from portal.stores.clock_check import STOP_SECONDS, WARN_SECONDS
from portal.stores.examination import DatabaseFacts, StoredContents
from portal.stores.tenant_records import DomainClaim, Draft, Revision, SetupLink, TenantRecord

_AREA = Area("database")
_OF_TENANTS = {model.__name__ for model in (TenantRecord, Revision, Draft, DomainClaim, SetupLink)}
_BEHIND = "The portal creates them when it starts and after a failover: restart one, and look at its log."
_LOST = (
    "The portal does not create them again: restore the database from a backup, then portal store restored."
)
_MOST_NAMED = 4


async def database_facts(settings: Settings) -> DatabaseFacts | list[Result]:
    """Read the state of the database; a list: why it cannot be used."""
    try:
        with startup_failures(settings.database):
            return await examination_for(settings.database, key_ring=KEY_RING).facts()
    except ConfigurationError as error:
        return [_AREA.failed("database", str(problem), "Correct `database`.") for problem in error.problems]
    except StartupError as error:
        return [_AREA.failed("database", error.message, error.remedy)]


def database_results(settings: Settings, facts: DatabaseFacts) -> Iterator[Result]:
    """Judge the state of the database."""
    place = without_password(settings.database)
    if facts.supported:
        yield _AREA.passed("version", f"{facts.server} at {place}")
    else:
        yield _AREA.failed(
            "version", f"{facts.server} is too old", "Use MongoDB 5.0 or newer, SQLite 3.35 or newer."
        )
    if facts.format is None:
        yield _AREA.skipped("indexes", "the database is empty: the first start creates what it needs")
    else:
        yield from _contents(facts)
    if facts.weak_indexes:
        yield _AREA.warned(
            "index options",
            f"without their option: {_named(facts.weak_indexes)}",
            "The server or its sharding refused it. The portal deletes expired entries itself.",
        )
    if facts.write_concern:
        yield _write_concern(facts)
    if facts.clock_ahead is not None:
        yield _clock(facts.clock_ahead)
    yield from _key_ring(facts.key_ring, settings.keys)


def _contents(facts: DatabaseFacts) -> Iterator[Result]:
    if facts.format is not None and facts.format < facts.known_format:
        seen = f"format {facts.format}: the next start of this version makes it {facts.known_format}"
        yield _AREA.warned(
            "format", seen, "Back it up before: portal store backup. See Upgrade in operations.md."
        )
    else:
        yield _AREA.passed("format", f"format {facts.format}")
    if facts.missing_indexes:
        advice = _LOST if facts.server.startswith("SQLite") else _BEHIND
        yield _AREA.failed("indexes", f"missing: {_named(facts.missing_indexes)}", advice)
    else:
        yield _AREA.passed("indexes", "all are there")


def _write_concern(facts: DatabaseFacts) -> Result:
    if facts.lasting_writes:
        return _AREA.passed("write concern", facts.write_concern)
    seen = f"{facts.write_concern}: a failover can undo a logout, or lose a refresh token"
    return _AREA.failed(
        "write concern", seen, "Remove `w` and `journal` from the database URL: majority is set."
    )


def _clock(ahead: float) -> Result:
    direction = "ahead of" if ahead > 0 else "behind"
    seen = f"this host's clock is {abs(ahead):.1f} s {direction} the database's"
    advice = "Synchronize the clocks of this host and of the database's hosts with NTP."
    if abs(ahead) > STOP_SECONDS:
        return _AREA.failed("clock", f"{seen}: the portal refreshes no tokens", advice)
    if abs(ahead) > WARN_SECONDS:
        return _AREA.warned("clock", seen, advice)
    return _AREA.passed("clock", seen)


def _key_ring(recorded: str | None, path: Path) -> Iterator[Result]:
    """Whether the database belongs to the key ring of this host."""
    try:
        own = KeyRing.load(path).check_values()
        known = json.loads(recorded or "{}")
        known = {str(kid): str(value) for kid, value in known.items()}
    except (ConfigurationError, StartupError):
        yield _AREA.skipped("key ring", "the key ring of this host cannot be read")
        return
    except (ValueError, AttributeError):
        advice = "Restore the database from a backup, or run `portal key adopt`."
        yield _AREA.failed("key ring", "the record of the key ring is damaged", advice)
        return
    if not known:
        yield _AREA.skipped("key ring", "the database does not belong to a key ring yet")
    elif not any(hmac.compare_digest(known.get(kid, ""), value) for kid, value in own.items()):
        yield _AREA.failed(
            "key ring",
            f"the database belongs to another key ring than {path}",
            "Copy the key ring from another host or a backup; if it is lost: portal key adopt.",
        )
    elif lacking := sorted(known.keys() - own.keys()):
        seen = f"{path} lacks keys that other hosts have: {_named(tuple(lacking))}"
        yield _AREA.warned("key ring", seen, "Copy the newest key ring to this host.")
    else:
        yield _AREA.passed("key ring", "the database belongs to the key ring of this host")


async def stored_contents(settings: Settings) -> StoredContents | Result:
    """The tenants of the database with their live revisions; a result: why they cannot be read."""
    found = StoredContents()
    inspection = inspection_for(settings.database)
    try:
        with startup_failures(settings.database):
            try:
                await inspection.open()
                async for page in inspection.pages():
                    for one in page:
                        _add(found, one.entry)
                    if any(one.kind not in _OF_TENANTS for one in page if one.problem == ""):
                        break
            finally:
                await inspection.close()
    except (ConfigurationError, StartupError) as error:
        return _AREA.failed("database", str(error), "Run portal store check.")
    return found


def _add(found: StoredContents, entry: object) -> None:
    if isinstance(entry, TenantRecord):
        found.tenants[entry.slug] = entry
    elif isinstance(entry, DomainClaim):
        found.domains.append(entry)
    elif isinstance(entry, Revision):
        record = found.tenants.get(entry.tenant)
        if record is not None and record.live == entry.number:
            found.live[entry.tenant] = entry


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
