"""Finds the entries of a database that this portal cannot use: `portal store check`.

Beyond what the store itself can tell: values that the key ring does not decrypt, JSON and contents that
cannot be parsed, formats of later versions, and entries of tenants that do not exist. Nothing is changed, and
memory grows only with the number of tenants.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from portal.admin.content import sealed_secrets
from portal.admin.draft_state import state_sealed_for
from portal.clock import Clock
from portal.errors import ConfigurationError, PortalError, VaultError
from portal.keys.key_ring_check import KEY_RING
from portal.keys.vault import Vault
from portal.sessions.sealed_attempt import SealedAttempt
from portal.sessions.stored_attempts import AttemptKind
from portal.stores.generation import GENERATION, Generation
from portal.stores.inspection import Inspected, Inspection
from portal.stores.model import Login, LoginAttempt, LogoutStep
from portal.stores.tenant_records import DomainClaim, Draft, Event, Revision, SetupLink, TenantRecord
from portal.tenancy.stored import FORMAT, sealed_for

Progress = Callable[[int, int], None]
"""Called with the number of entries that were read, and about how many there are."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry that cannot be used, and why. Neither part contains a secret."""

    kind: str
    key: str
    problem: str


@dataclass(slots=True)
class Report:
    """What a check found: of each problem, its count and the first findings."""

    entries: Counter[str] = field(default_factory=Counter)
    """How many of each kind were read."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Findings by kind and problem."""
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding, *, most: int) -> None:
        """Count a finding, and keep it unless `most` with its problem are kept."""
        of_kind = finding.kind, finding.problem
        self.counts[of_kind] += 1
        if self.counts[of_kind] <= most:
            self.findings.append(finding)


class StoreCheck:
    """Checks all entries of a database.

    Parameters: files, the slugs of the tenant files; clock, of this host.
    """

    def __init__(self, vault: Vault, files: Collection[str], *, clock: Clock) -> None:
        self._vault = vault
        self._tenants = set(files)
        self._clock = clock
        self._live: dict[str, int] = {}
        """The live revision of each tenant whose revision was not read yet."""

    async def run(self, inspection: Inspection, *, most: int, progress: Progress) -> Report:
        """Read everything. Parameters: most, how many findings of a problem to keep.

        Raises StoreUnavailable.
        """
        report = Report()
        total, done = await inspection.total(), 0
        async for page in inspection.pages():
            for entry in page:
                report.entries[entry.kind] += 1
                for problem in self._problems(entry):
                    report.add(Finding(entry.kind, entry.key, problem), most=most)
            done += len(page)
            progress(done, max(total, done))
        for slug, number in self._live.items():
            report.add(Finding("TenantRecord", slug, f"its live revision {number} is missing"), most=most)
        return report

    def _problems(self, found: Inspected) -> Iterator[str]:
        if found.problem:
            yield found.problem
        elif isinstance(found.entry, TenantRecord):
            self._tenants.add(found.entry.slug)
            if found.entry.live:
                self._live[found.entry.slug] = found.entry.live
        elif isinstance(found.entry, Login | LoginAttempt | LogoutStep):
            if found.entry.expires_at > self._clock():  # expired ones are about to be deleted
                yield from self._of_tenant(found.entry.tenant)
                yield from self._unsealed(found.entry)
        elif isinstance(found.entry, Revision | Draft | SetupLink | DomainClaim):
            yield from self._of_tenant(found.entry.tenant)
            yield from self._record_problems(found.entry)
        elif isinstance(found.entry, Event):
            yield from _json_problems(actor=found.entry.actor)
        elif found.kind == "metadata":
            yield from _metadata_problems(found.key, found.entry)

    def _of_tenant(self, slug: str) -> Iterator[str]:
        if slug not in self._tenants:
            yield "belongs to a tenant that does not exist"

    def _unsealed(self, entry: Login | LoginAttempt | LogoutStep) -> Iterator[str]:
        try:
            if isinstance(entry, Login):
                self._vault.open_tokens(entry.id, entry.tokens)
            elif isinstance(entry, LogoutStep):
                if entry.next_url:
                    self._vault.open(entry.id, entry.next_url)
            else:
                SealedAttempt.decode(self._opened_attempt(entry))
        except PortalError as error:
            yield str(error.detail)

    def _opened_attempt(self, attempt: LoginAttempt) -> str:
        try:
            return self._vault.open(AttemptKind.SIGN_IN.document(attempt.id), attempt.sealed)
        except VaultError:
            return self._vault.open(AttemptKind.TEST.document(attempt.id), attempt.sealed)

    def _record_problems(self, record: Revision | Draft | SetupLink | DomainClaim) -> Iterator[str]:
        if isinstance(record, DomainClaim):
            return
        yield from _json_problems(author=record.author)
        if isinstance(record, SetupLink):
            return
        yield from _json_problems(test=record.test)
        if isinstance(record, Revision) and self._live.get(record.tenant) == record.number:
            del self._live[record.tenant]
        if record.format > FORMAT:
            yield f"has format {record.format}, and this portal reads formats up to {FORMAT}"
            return
        try:
            for sealed in sealed_secrets(record.content, record.tenant):
                self._vault.open(sealed_for(record.tenant), sealed)
        except ConfigurationError:
            if isinstance(record, Revision):  # a draft may be anything
                yield "content cannot be read"
        except VaultError as error:
            yield str(error.detail)
        if isinstance(record, Draft):
            yield from self._test_problems(record)

    def _test_problems(self, draft: Draft) -> Iterator[str]:
        """The test logins of a draft, which are sealed."""
        try:
            state = json.loads(draft.test or "{}")
            sealed = [*state.get("tests", {}).values(), *state.get("failed", {}).values()]
            for value in sealed:
                self._vault.open(state_sealed_for(draft.tenant), value)
        except VaultError as error:
            yield f"a test login: {error.detail}"
        except (ValueError, TypeError, AttributeError, RecursionError):
            return  # `_json_problems` reports it


def _json_problems(**texts: str) -> Iterator[str]:
    for name, text in texts.items():
        try:
            json.loads(text or "{}")
        except (ValueError, RecursionError):
            yield f"{name} is not JSON"


def _metadata_problems(key: str, value: str | None) -> Iterator[str]:
    if value is None:
        return
    if key == GENERATION:
        try:
            Generation.parse(value)
        except PortalError:
            yield "cannot be read"
    elif key == KEY_RING:
        yield from _json_problems(value=value)
