"""Opens drafts: reads their contents as tenants, and says what a publication would do. Without a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from portal.admin import content as contents
from portal.admin.actors import Actor
from portal.admin.content_worker import Conflicts
from portal.admin.draft_state import DraftState, edited_version, state_sealed_for, stored_state
from portal.admin.publication import (
    TestedProvider,
    admin_warning,
    counted_tests,
    missing_tests,
    short_session,
    tested_providers,
)
from portal.clock import Clock
from portal.config.yaml_document import parse_document
from portal.errors import ConfigurationError, Problem
from portal.sentences import message, plural_sentence
from portal.stores.tenant_records import Draft, Revision, TenantRecord
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant
from portal.tenancy.schema.tenant import ONLY_PROVIDER
from portal.tenancy.stored import FORMAT, ContentReader, sealed_for
from portal.tenancy.template import name_for

MAX_TYPED_BYTES = 64 * 1024
"""Of a content that is edited in the console, in UTF-8; with sealed secrets it may be larger."""
_LATER = "was made by a later version of the portal; it is kept, and cannot be edited or published here"


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """What the database has of a tenant and its draft."""

    tenant: TenantRecord
    draft: Draft | None
    live: Revision | None

    @property
    def content(self) -> str:
        """The content of the draft, or what it would begin as."""
        begun = self.draft or self.live
        return begun.content if begun is not None else f"name: {name_for(self.tenant.slug)}\n"

    @property
    def of_later_version(self) -> bool:
        """Whether a later version of the portal made this content."""
        begun = self.draft or self.live
        return begun is not None and begun.format > FORMAT


@dataclass(frozen=True, slots=True)
class OpenDraft:
    """The draft of a tenant, or what a draft would begin as."""

    slug: str
    tenant: TenantRecord
    live: Revision | None
    """The live revision."""
    record: Draft | None
    """None: nothing is stored yet, and the content is that of the live revision, or a name."""
    stored: str
    """The content with sealed secrets."""
    shown: str
    """The content for people: each secret as `sealed:` and the beginning of a hash."""
    loaded: LoadedTenant | None
    """None when the content is not a valid tenant."""
    problems: tuple[Problem, ...]
    """What must be corrected before it can be published. Places are in `shown`, with the slug as file."""
    providers: tuple[str, ...]
    """The ids of its providers, also when it is invalid."""
    state: DraftState
    of_later_version: bool = False
    """Whether a later version of the portal made it: it is shown only."""
    live_tenant: Tenant | None = None
    """What the live revision is; None when there is no stored draft, or this version cannot read it."""

    @property
    def version(self) -> int | None:
        """What a change of it names as `replaces`; None: nothing is stored yet."""
        return edited_version(self.record)


@dataclass(frozen=True, slots=True)
class Review:
    """What a publication of a draft would do, and what prevents it, in sentences."""

    draft: OpenDraft
    live: LoadedTenant | None
    """The live revision; None if there is none that this version can read."""
    difference: str
    """From the live revision, as a unified diff; empty when there is none."""
    blocking: tuple[str, ...]
    providers: tuple[TestedProvider, ...]
    missing_tests: tuple[str, ...]
    """What an operator may publish without."""
    test: str
    """`Revision.test`."""
    warning: str
    """What the publication would do to who asks; empty for nothing."""

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Everything that prevents a publication."""
        return (*self.blocking, *self.missing_tests)


class DraftReader:
    """Opens drafts. Its methods may take long: call them in a thread, one at a time.

    Parameters: reader, of contents; conflicts, see there; clock, that of the database.
    """

    def __init__(self, reader: ContentReader, conflicts: Conflicts, *, clock: Clock) -> None:
        self._reader = reader
        self._vault = reader.vault
        self._conflicts = conflicts
        self._clock = clock

    def open(self, stored: StoredDraft) -> OpenDraft:
        """Return the draft of a tenant, or what it would begin as."""
        tenant, draft, content = stored.tenant, stored.draft, stored.content
        loaded: LoadedTenant | None = None
        problems: tuple[Problem, ...] = (Problem(tenant.slug, _LATER),)
        if not stored.of_later_version:
            loaded, problems = self._loaded(tenant.slug, content)
        state = (
            DraftState()
            if draft is None
            else stored_state(draft).opened(
                lambda sealed: self._vault.open(state_sealed_for(tenant.slug), sealed)
            )
        )
        return OpenDraft(
            slug=tenant.slug,
            tenant=tenant,
            live=stored.live,
            record=draft,
            stored=content,
            shown=_shown(content, stored.of_later_version, tenant.slug),
            loaded=loaded,
            problems=problems,
            providers=_provider_ids(content, loaded),
            state=state,
            of_later_version=stored.of_later_version,
            live_tenant=self._live_tenant(stored) if draft is not None else None,
        )

    def _live_tenant(self, stored: StoredDraft) -> Tenant | None:
        if stored.live is None or stored.live.format > FORMAT:
            return None
        try:
            return self._reader.read(stored.tenant.slug, stored.live.content, advice=False).tenant
        except ConfigurationError:  # test logins take care then
            return None

    def _loaded(self, slug: str, content: str) -> tuple[LoadedTenant | None, tuple[Problem, ...]]:
        try:
            loaded = self._reader.read(slug, content)
        except ConfigurationError as error:
            return None, contents.as_shown(error.problems, content)
        loaded = replace(
            loaded,
            warnings=contents.as_shown(loaded.warnings, content),
            hints=contents.as_shown(loaded.hints, content),
        )
        return loaded, contents.as_shown(self._conflicts(loaded), content)

    def stored(self, typed: str, before: StoredDraft) -> str:
        """Return the stored form of what was typed in place of a draft.

        Raises: ConfigurationError, VaultError.
        """
        slug = before.tenant.slug
        if len(typed) > MAX_TYPED_BYTES or len(typed.encode(errors="replace")) > MAX_TYPED_BYTES:
            message = f"is larger than {MAX_TYPED_BYTES // 1024} KB"
            raise ConfigurationError([Problem(slug, message)])
        seal = partial(self._vault.seal, sealed_for(slug))
        try:
            return contents.stored(typed, slug, before=before.content, seal=seal)
        except ConfigurationError:
            if contents.is_readable(before.content, slug):
                raise
            return contents.stored(typed, slug, seal=seal)

    def review(self, draft: OpenDraft, actor: Actor) -> Review:
        """Return what publishing a draft would do. Parameters: actor, who asks."""
        live = None
        if draft.live is not None and draft.live.format <= FORMAT:
            live, _ = self._loaded(draft.slug, draft.live.content)
        before = ""
        if draft.live is not None:
            before = _shown(draft.live.content, draft.live.format > FORMAT, draft.slug)
        live_tenant = live.tenant if live is not None else None
        providers = self._tested(draft, live_tenant)
        return Review(
            draft=draft,
            live=live,
            difference=contents.text_difference(before, draft.shown),
            blocking=_blocking(draft),
            providers=providers,
            missing_tests=_missing_tests(draft, live_tenant, providers),
            test=counted_tests(providers),
            warning=admin_warning(draft.loaded.tenant, draft.state.tests.values(), actor)
            if draft.loaded is not None
            else "",
        )

    def _tested(self, draft: OpenDraft, live: Tenant | None) -> tuple[TestedProvider, ...]:
        if draft.loaded is None:
            return ()
        state = draft.state
        return tested_providers(
            draft.loaded.tenant, live, state.tests, failed=state.failed, now=self._clock()
        )

    def obstacles(self, draft: OpenDraft, live: Tenant | None) -> tuple[str, ...]:
        """Why a draft cannot be published yet, in sentences. Parameters: live, the live revision, if any."""
        return (*_blocking(draft), *_missing_tests(draft, live, self._tested(draft, live)))


def _shown(content: str, of_later_version: bool, slug: str) -> str:
    return contents.shown_unread(content) if of_later_version else contents.shown_safely(content, slug)


def _provider_ids(content: str, loaded: LoadedTenant | None) -> tuple[str, ...]:
    if loaded is not None:
        return tuple(loaded.tenant.providers)
    try:
        root = parse_document(content.encode(), "draft").root
    except ConfigurationError:
        return ()
    several = root.get("providers")
    if isinstance(several, Mapping):
        return tuple(several)
    return (ONLY_PROVIDER,) if root.keys() & {"issuer", "domain", "preset"} else ()


def _missing_tests(
    draft: OpenDraft, live: Tenant | None, providers: Sequence[TestedProvider]
) -> tuple[str, ...]:
    return () if draft.loaded is None else missing_tests(providers, draft.loaded.tenant, live)


def _blocking(draft: OpenDraft) -> tuple[str, ...]:
    """What nobody may publish."""
    if draft.of_later_version:
        return (
            message(
                "The draft was made by a later version of the portal; it is kept, and cannot be edited or "
                "published here."
            ),
        )
    if draft.record is None or (draft.live is not None and draft.stored == draft.live.content):
        return (message("There is no change to publish."),)
    if draft.problems:
        return (
            plural_sentence(
                "The draft has %(count)s problem that must be corrected first.",
                "The draft has %(count)s problems that must be corrected first.",
                len(draft.problems),
            ),
        )
    if draft.loaded is not None and (too_short := short_session(draft.loaded.tenant)):
        return (too_short,)
    return ()
