"""Drafts of tenants of the database: what an admin edits, tests and publishes. A draft never affects users.

A draft may be an invalid tenant, but it is always YAML, and its secrets are sealed. Every change names the
version of the draft that it replaces: who edits at the same time as somebody else is told, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from portal.admin.actors import Actor, ActorType
from portal.admin.content import text_difference
from portal.admin.content_worker import Conflicts, ContentWorker, no_conflicts
from portal.admin.draft_reading import DraftReader, OpenDraft, Review, StoredDraft
from portal.admin.draft_state import (
    DraftState,
    FailedTest,
    Proposal,
    StoredState,
    TestResult,
    edited_version,
    sign_in_fingerprint,
    state_sealed_for,
    stored_state,
)
from portal.admin.events import Act, EventKind
from portal.admin.tenants import TenantAdmin, TenantChanged
from portal.clock import Clock
from portal.errors import PortalError
from portal.stores.tenant_records import Draft, Event, Revision
from portal.stores.tenant_store import TenantStore
from portal.tenancy.model import Tenant
from portal.tenancy.stored import FORMAT

__all__ = [
    "DraftChanged",
    "DraftOfLaterVersion",
    "DraftState",
    "Drafts",
    "NotPublishable",
    "OpenDraft",
    "Review",
    "TestResult",
    "sign_in_fingerprint",
]

_ATTEMPTS = 5
"""How often a change is tried again because a test login was stored at the same time."""


class DraftChanged(PortalError):
    """Somebody else changed the draft meanwhile; nothing was stored. `theirs` is the draft as it is now."""

    status = 409
    code = "draft_changed"
    title = "Somebody else changed this draft meanwhile"
    advice = "Nothing was stored. Compare the two, and save again."

    def __init__(self, theirs: OpenDraft) -> None:
        super().__init__(theirs.slug)
        self.theirs = theirs


class DraftOfLaterVersion(PortalError):
    """The draft, or the live revision that it would begin as, is not one that this version can change."""

    status = 409
    code = "draft_of_later_version"
    title = "A later version of the portal made this draft"
    advice = "It is kept as it is. Edit it when all processes of this portal are of the same version."


class NotPublishable(PortalError):
    """A draft may not be published or proposed yet; `obstacles` says why, in sentences."""

    status = 409
    code = "not_publishable"
    title = "This draft cannot be published yet"
    advice = "Nothing was changed. The draft is still there."

    def __init__(self, obstacles: Sequence[str]) -> None:
        super().__init__(" ".join(obstacles))
        self.obstacles = tuple(obstacles)


class Drafts:
    """The acts on drafts.

    Parameters: tenants, the acts on tenants; worker, reads contents; conflicts, see there; clock, that of the
    database.
    """

    def __init__(
        self,
        store: TenantStore,
        tenants: TenantAdmin,
        worker: ContentWorker,
        *,
        conflicts: Conflicts = no_conflicts,
        clock: Clock,
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._worker = worker
        self._vault = worker.reader.vault
        self._reader = DraftReader(worker.reader, conflicts, clock=clock)
        self._clock = clock

    # --- reading

    async def get(self, slug: str) -> OpenDraft:
        """Return the draft of a tenant, or what it would begin as. Raises TenantMissing, StoreUnavailable."""
        return await self._worker.run(slug, self._reader.open, await self._stored(slug))

    async def review(self, slug: str, actor: Actor) -> Review:
        """Return what publishing the draft would do. Parameters: actor, who asks. Raises as `get`."""
        draft = await self.get(slug)
        return await self._worker.run(slug, self._reader.review, draft, actor)

    async def difference(self, draft: OpenDraft, typed: str) -> str:
        """What a typed text changes of a draft, as a unified diff."""
        return await self._worker.run(draft.slug, text_difference, draft.shown, typed)

    def obstacles(self, draft: OpenDraft, live: Tenant | None) -> tuple[str, ...]:
        """Why a draft cannot be published yet, in sentences. Parameters: live, the live revision, if any."""
        return self._reader.obstacles(draft, live)

    # --- changes

    async def save(self, slug: str, typed: str, act: Act, *, replaces: int | None) -> OpenDraft:
        """Store a content as the draft; the same content again changes nothing.

        Parameters: typed, YAML in any of the three forms of `contents`, at most `MAX_TYPED_BYTES`; it may be
        an invalid tenant; replaces, the version that was edited.
        Raises: ConfigurationError for what cannot be stored, DraftChanged, DraftOfLaterVersion,
        TenantMissing, TenantChanged, StoreUnavailable, VaultError.
        """
        typed = typed.replace("\r\n", "\n")
        before = await self._stored(slug)
        if edited_version(before.draft) != replaces:
            raise DraftChanged(await self.get(slug))
        if before.of_later_version:
            raise DraftOfLaterVersion(slug)
        content = await self._worker.run(slug, self._reader.stored, typed, before)
        if before.draft is not None and content == before.content:
            return await self._worker.run(slug, self._reader.open, before)
        now = self._clock()
        author = act.actor.as_json()
        event = act.event(EventKind.DRAFT_SAVED, tenant=slug, target="draft", at=now)

        for _ in range(_ATTEMPTS):
            current = await self._store.get_draft(slug)
            if edited_version(current) != replaces:
                raise DraftChanged(await self.get(slug))
            version = self._next_version(current)
            state = StoredState() if current is None else stored_state(current)
            test = replace(state, edited=version, proposal=None).text()
            based_on = before.tenant.live if current is None else current.based_on
            draft = Draft(slug, content, FORMAT, version, based_on, author, test, now)
            expected = None if current is None else current.version
            made_at = before.tenant.created_at
            if await self._store.put_draft(draft, replaces=expected, event=event, made_at=made_at):
                saved = replace(before, draft=draft)
                return await self._worker.run(slug, self._reader.open, saved)
        await self._tenants.get(slug)
        raise TenantChanged(slug)

    async def discard(self, slug: str, act: Act, *, version: int) -> None:
        """Delete the draft. Raises: DraftChanged, TenantMissing, TenantChanged, StoreUnavailable."""
        event = act.event(EventKind.DRAFT_DISCARDED, tenant=slug, target="draft", at=self._clock())
        for _ in range(_ATTEMPTS):
            current = await self._existing(slug, version)
            if await self._store.delete_draft(slug, version=current.version, event=event):
                return
        raise TenantChanged(slug)

    async def record_test(
        self, slug: str, test: TestResult, *, version: int | None, event: Event | None = None
    ) -> None:
        """Keep a test login with the draft; an earlier one at the same provider is replaced.

        Parameters: version, of the draft that was tested. Raises: DraftChanged when it is not the stored one,
        TestLoginTooLarge, TenantMissing, TenantChanged, StoreUnavailable, VaultError.
        """
        if version is None:
            raise DraftChanged(await self.get(slug))

        def with_test(state: StoredState) -> StoredState:
            return state.with_test(test, lambda plain: self._vault.seal(state_sealed_for(slug), plain))

        await self._change_state(slug, with_test, version=version, event=event)

    async def record_failed_test(
        self, slug: str, test: FailedTest, *, version: int | None, event: Event | None = None
    ) -> None:
        """Keep a test login that failed with the draft, as `record_test`."""
        if version is None:
            raise DraftChanged(await self.get(slug))

        def with_test(state: StoredState) -> StoredState:
            return state.with_failed_test(test, lambda plain: self._vault.seal(state_sealed_for(slug), plain))

        await self._change_state(slug, with_test, version=version, event=event)

    async def propose(self, slug: str, act: Act, *, version: int) -> None:
        """Ask an admin or operator to publish the draft; every change of it withdraws that.

        Raises: NotPublishable, DraftChanged, TenantMissing, TenantChanged, StoreUnavailable.
        """
        review = await self.review(slug, act.actor)
        _require_version(review.draft, version)
        if review.obstacles:
            raise NotPublishable(review.obstacles)
        now = self._clock()
        before = review.draft.state.proposal
        event = None
        if before is None or before.actor != act.actor:  # one event, however often the button is pressed
            event = act.event(EventKind.DRAFT_PROPOSED, tenant=slug, target="draft", at=now)

        proposal = Proposal(act.actor, act.reason, now)
        await self._change_state(
            slug, lambda state: replace(state, proposal=proposal), version=version, event=event
        )

    async def publish(
        self, slug: str, act: Act, *, version: int, live: int | None = None, without_test: bool = False
    ) -> Revision:
        """Publish the draft as the next revision, and delete it.

        Parameters: version, of the draft that was reviewed; live, the number of the revision that it was
        compared with (None: whatever is live); without_test, publish although test logins are missing, which
        only an operator may.
        Raises: NotPublishable, DraftChanged, TenantChanged when another revision became live, TenantMissing,
        StoreUnavailable.
        """
        review = await self.review(slug, act.actor)
        draft = review.draft
        _require_version(draft, version)
        if live is not None and draft.tenant.live != live:
            raise TenantChanged(slug)
        without_test = bool(without_test and act.actor.type is ActorType.OPERATOR and review.missing_tests)
        obstacles = review.blocking if without_test else review.obstacles
        if obstacles or draft.record is None:
            raise NotPublishable(obstacles)
        kind = EventKind.PUBLISHED_WITHOUT_TEST if without_test else EventKind.TENANT_PUBLISHED
        return await self._tenants.publish_stored(
            draft.tenant, draft.stored, act, kind, test=review.test, draft=draft.record.version
        )

    # --- inside

    async def _stored(self, slug: str) -> StoredDraft:
        """What the database has. Raises TenantMissing, StoreUnavailable."""
        tenant = await self._tenants.get(slug)
        draft = await self._store.get_draft(slug)
        found = await self._store.read_revisions([(slug, tenant.live)]) if tenant.live else []
        return StoredDraft(tenant, draft, found[0] if found else None)

    async def _change_state(
        self,
        slug: str,
        change: Callable[[StoredState], StoredState],
        *,
        version: int,
        event: Event | None,
    ) -> None:
        """Change what is kept beside the content; a change of it by somebody else at the same time stays."""
        for _ in range(_ATTEMPTS):
            current = await self._existing(slug, version)
            state = change(replace(stored_state(current), edited=version))
            draft = replace(current, version=self._next_version(current), test=state.text())
            if await self._store.put_draft(draft, replaces=current.version, event=event):
                return
        raise TenantChanged(slug)

    async def _existing(self, slug: str, version: int) -> Draft:
        """The stored draft. Raises DraftChanged unless its content has this version."""
        current = await self._store.get_draft(slug)
        if current is None or edited_version(current) != version:
            raise DraftChanged(await self.get(slug))
        return current

    def _next_version(self, current: Draft | None) -> int:
        """By the time, so that a draft that was discarded and made again has another version."""
        return max(round(self._clock() * 1000), current.version + 1 if current is not None else 0)


def _require_version(draft: OpenDraft, version: int | None) -> None:
    if draft.version != version:
        raise DraftChanged(draft)
