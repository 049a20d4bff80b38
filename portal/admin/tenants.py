"""Publishes, rolls back, suspends and removes tenants of the database.

Each act is stored together with its event, or not at all. What is published has been read as a tenant first:
a revision that no portal could serve is refused with the problems of its content.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import structlog
import yaml

from portal.admin import content as contents
from portal.admin.actors import actor_of
from portal.admin.content_worker import Conflicts, ContentWorker, no_conflicts
from portal.admin.events import Act, EventKind
from portal.admin.stated_names import release_unstated
from portal.clock import Clock
from portal.errors import ConfigurationError, PortalError, Problem, StoreUnavailable
from portal.sentences import sentence
from portal.stores.tenant_records import Draft, Revision, TenantRecord, TenantStatus
from portal.stores.tenant_store import TenantStore
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.stored import FORMAT, ContentReader, sealed_for

_log = structlog.get_logger("portal.admin")

_LATEST = 2**53
"""More than every number of a revision."""


EndLogins = Callable[[str], Awaitable[int]]
"""Ends all logins at the tenant with a slug, and returns how many."""


class TenantMissing(PortalError):
    """The database has no tenant, or no revision, of this name."""

    status = 404
    code = "tenant_missing"
    title = "There is no such tenant in the database"
    advice = "It may have been removed meanwhile. Go back to the overview of the console."


class TenantChanged(PortalError):
    """Somebody else changed the tenant at the same time; nothing was stored."""

    status = 409
    code = "tenant_changed"
    title = "Somebody else changed the tenant meanwhile"
    advice = "Nothing was changed by you. Open the page again to see what it is now."


class RevisionOfLaterVersion(PortalError):
    """The revision was made by a later version of the portal, which this one cannot read."""

    status = 409
    code = "revision_of_later_version"
    title = "This revision was made by a later version of the portal"
    advice = "It is kept, but this version can neither show it nor publish it again. Update the portal first."


class TenantInFile(PortalError):
    """The tenant is that of a file, which the console does not change."""

    status = 409
    code = "tenant_in_file"
    title = "This tenant is read-only in the console"
    advice = "Change the file; the portal reads it again within seconds."

    def __init__(self, file_name: str) -> None:
        super().__init__(
            f"the tenant is in {file_name}",
            explanation=sentence(
                "Its settings are in the file %(file_name)s. Change them there.", file_name=file_name
            ),
        )


class TenantAdmin:
    """The acts on tenants of the database.

    Parameters: reader, of contents; worker, reads them for a server, whose event loop must not wait;
    conflicts, end_logins, see there; clock, that of the database.
    """

    def __init__(
        self,
        store: TenantStore,
        reader: ContentReader,
        *,
        worker: ContentWorker | None = None,
        conflicts: Conflicts = no_conflicts,
        end_logins: EndLogins | None = None,
        clock: Clock,
    ) -> None:
        self._store = store
        self._reader = reader
        self._worker = worker or ContentWorker(reader)
        self._conflicts = conflicts
        self._end_logins = end_logins
        self._vault = reader.vault
        self._clock = clock

    async def get(self, slug: str) -> TenantRecord:
        """Return a tenant. Raises TenantMissing, StoreUnavailable."""
        record = await self._store.get_tenant(slug)
        if record is None:
            raise TenantMissing(f"the database has no tenant {slug}")
        return record

    async def revision(self, slug: str, number: int | None = None) -> Revision:
        """Return a revision; None: the live one. Raises TenantMissing, StoreUnavailable."""
        wanted = (await self.get(slug)).live if number is None else number
        found = await self._store.read_revisions([(slug, wanted)])
        if not found:
            raise TenantMissing(f"the tenant {slug} has no revision {wanted}")
        return found[0]

    async def history(self, slug: str, *, most: int = 100) -> list[Revision]:
        """The revisions of a tenant, the newest first. Raises TenantMissing, StoreUnavailable."""
        await self.get(slug)
        return await self._store.list_revisions(slug, before=None, most=most)

    def read(self, revision: Revision) -> LoadedTenant:
        """Read a revision as a tenant. Raises ConfigurationError."""
        return self._reader.read(revision.tenant, revision.content)

    async def publish(
        self, slug: str, typed: str, act: Act, *, resolve: Callable[[str], str] = contents.typed_secret
    ) -> tuple[Revision, LoadedTenant]:
        """Publish a content as the next revision; a tenant that is not there is made.

        Parameters: typed, in any of the three forms of `contents`; resolve, as in `contents.stored`.
        Raises: ConfigurationError, TenantChanged, StoreUnavailable, VaultError.
        """
        record = await self._store.get_tenant(slug)
        before = (await self.revision(slug)).content if record is not None and record.live else ""
        content = contents.stored(
            typed,
            slug,
            before=before,
            seal=lambda secret: self._vault.seal(sealed_for(slug), secret),
            resolve=resolve,
        )
        loaded = self._reader.read(slug, content)
        if record is None:
            record = await self._add(slug, act)
        return await self.publish_stored(record, content, act, EventKind.TENANT_PUBLISHED), loaded

    async def difference(
        self, slug: str, typed: str, *, resolve: Callable[[str], str] = contents.typed_secret
    ) -> str:
        """What publishing a content would change of the live revision, as a unified diff in the shown form.

        Parameters: typed, resolve, as in `publish`. Raises: ConfigurationError, TenantMissing,
        StoreUnavailable, VaultError.
        """
        live = (await self.revision(slug)).content
        kept = {
            self._vault.open(sealed_for(slug), sealed): sealed
            for sealed in contents.sealed_secrets(live, slug)
        }
        new = contents.stored(
            typed,
            slug,
            before=live,
            seal=lambda secret: kept.get(secret) or self._vault.seal(sealed_for(slug), secret),
            resolve=resolve,
        )
        return contents.difference(slug, live, new)

    async def roll_back(self, slug: str, number: int, act: Act) -> Revision:
        """Publish an earlier revision again, as the next one.

        Raises: TenantMissing, TenantChanged, RevisionOfLaterVersion, ConfigurationError when this version
        cannot read it for another reason, another tenant has one of its names or it is what is live already,
        StoreUnavailable.
        """
        record, earlier = await self.get(slug), await self.revision(slug, number)
        live = (await self._store.read_revisions([(slug, record.live)]))[:1]
        if [(one.content, one.format) for one in live] == [(earlier.content, earlier.format)]:
            raise ConfigurationError([Problem(slug, f"revision {number} is the same as the live revision")])
        if earlier.format > FORMAT:
            raise RevisionOfLaterVersion(f"revision {number} of {slug} has format {earlier.format}")
        loaded = await self._worker.run(slug, self._worker.reader.read, slug, earlier.content)
        taken = await self._worker.run(slug, self._conflicts, loaded)
        if taken:
            raise ConfigurationError([*taken])
        return await self.publish_stored(
            record, earlier.content, act, EventKind.TENANT_ROLLED_BACK, again=number
        )

    async def set_status(self, slug: str, status: TenantStatus, act: Act) -> bool:
        """Set what a tenant may do; False when that is its status. Raises as `roll_back`."""
        record = await self.get(slug)
        if record.status == status:
            return False
        now = self._clock()
        event = act.event(EventKind.TENANT_STATUS_CHANGED, tenant=slug, target=status, at=now)
        if not await self._store.set_status(slug, status, expected=record.status, at=now, event=event):
            raise TenantChanged(slug)
        return True

    async def remove(self, slug: str, act: Act) -> None:
        """Remove a tenant with all its revisions. Raises TenantMissing, StoreUnavailable."""
        event = act.event(EventKind.TENANT_REMOVED, tenant=slug, at=self._clock())
        if not await self._store.remove_tenant(slug, event=event):
            raise TenantMissing(f"the database has no tenant {slug}")

    async def make(self, slug: str, name: str, act: Act) -> bool:
        """Make a tenant without a live revision, with a draft that has its name.

        False if the database has one with this slug. Raises StoreUnavailable.
        """
        try:
            record = await self._add(slug, act)
        except TenantChanged:
            return False
        draft = Draft(
            tenant=slug,
            content=yaml.safe_dump({"name": name}, allow_unicode=True, width=10_000),
            format=FORMAT,
            version=round(record.created_at * 1000),  # not that of an earlier tenant's draft
            based_on=0,
            author=act.actor.as_json(),
            test="",
            changed_at=record.created_at,
        )
        await self._store.put_draft(draft, replaces=None, event=None, made_at=record.created_at)
        return True

    async def _add(self, slug: str, act: Act) -> TenantRecord:
        now = self._clock()
        record = TenantRecord(slug, TenantStatus.LIVE, live=0, created_at=now, changed_at=now)
        event = act.event(EventKind.TENANT_ADDED, tenant=slug, at=now)
        if not await self._store.add_tenant(record, event=event):
            raise TenantChanged(slug)
        return record

    async def publish_stored(
        self,
        record: TenantRecord,
        content: str,
        act: Act,
        kind: EventKind,
        *,
        again: int | None = None,
        test: str = "",
        draft: int | None = None,
    ) -> Revision:
        """Publish a stored content that can be read as a tenant, in place of the live revision of `record`.

        Parameters: again, the revision that it comes from; test, as in `Revision`; draft, as in
        `TenantStore.publish`. Raises: TenantChanged, StoreUnavailable.
        """
        if not record.live:
            await self._end_earlier_logins(record.slug)
        now = self._clock()
        newest = await self._store.list_revisions(record.slug, before=_LATEST, most=1)
        number = max([record.live, *(one.number for one in newest)]) + 1
        revision = Revision(
            tenant=record.slug,
            number=number,
            content=content,
            format=FORMAT,
            author=act.actor.as_json(),
            reason=act.reason,
            test=test if again is None else json.dumps({"again": again}),
            published_at=now,
        )
        target = f"revision {number}" + (f", from revision {again}" if again is not None else "")
        event = act.event(kind, tenant=record.slug, target=target, at=now)
        if not await self._store.publish(
            revision, replaces=record.live, draft=draft, event=event, made_at=record.created_at
        ):
            raise TenantChanged(record.slug)
        try:
            await release_unstated(self._store, self._worker, record.slug, act, clock=self._clock)
        except StoreUnavailable as error:  # it is published; `domain_upkeep` releases them
            _log.warning("domains_not_released", tenant=record.slug, code=error.code)
        if not record.live:
            try:
                await self._end_earlier_logins(record.slug)
            except StoreUnavailable as error:  # it is published, and there are seldom more since above
                _log.warning("earlier_logins_not_ended", tenant=record.slug, code=error.code)
        return revision

    async def _end_earlier_logins(self, slug: str) -> None:
        """End logins at a removed tenant of this slug.

        A process that ended during the removal leaves them, and one that has not noticed it stores them.
        """
        if self._end_logins is not None:
            await self._end_logins(slug)


def author(revision: Revision) -> str:
    """Who published a revision, for people."""
    return str(actor_of(revision.author))
