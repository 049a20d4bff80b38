"""What the handlers of a draft's forms share: reading it, applying what was typed, and storing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftOfLaterVersion
from portal.admin.editing import Keys, set_values
from portal.admin.problem_words import in_words
from portal.admin.viewers import Right
from portal.errors import BadRequest, ConfigurationError, Problem
from portal.sentences import Sentence, Wording
from portal.tenancy.presets import Presets
from portal.web.admin.asked_views import REPLACES
from portal.web.admin.base import AdminHandler
from portal.web.admin.form import Form

P = ParamSpec("P")
T = TypeVar("T")
MOST_SENTENCES = 10
"""Problems that a page lists."""


class DraftFormHandler(AdminHandler):
    """A form that edits the draft of a tenant of the database."""

    right = Right.DRAFT
    of_database = True

    async def open_draft(self, slug: str) -> OpenDraft:
        """Return the draft. Raises TenantMissing, DraftOfLaterVersion, StoreUnavailable."""
        draft = await self.stored_draft(slug)
        if draft.of_later_version:
            raise DraftOfLaterVersion(slug)
        return draft

    @property
    def presets(self) -> Presets:
        """The presets of contents; use them in `in_thread` only."""
        return self.services.contents.reader.presets

    async def in_thread(self, slug: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work`, which reads contents or presets."""
        return await self.services.contents.run(slug, work, *args, **kwargs)

    def replaced_version(self, form: Form) -> int | None:
        """The version of the draft that the page showed. Raises BadRequest for what no page sends."""
        if REPLACES.name in form.errors:
            raise BadRequest("the version of the draft is not a number")
        return int(form[REPLACES.name]) if form[REPLACES.name] else None

    async def save_changes(
        self, draft: OpenDraft, changes: Mapping[Keys, object], replaces: int | None
    ) -> OpenDraft:
        """Apply changes to the draft and store it. Raises as `set_values` and `Drafts.save`."""
        if not changes and draft.version == replaces:
            return draft
        content = await self.in_thread(draft.slug, set_values, draft.shown, changes, draft.slug)
        return await self.save_content(draft, content, replaces)

    async def save_content(self, draft: OpenDraft, content: str, replaces: int | None) -> OpenDraft:
        """Store a content as the draft; one that is the same changes nothing. Raises as `Drafts.save`."""
        if content == draft.shown and draft.version == replaces:
            return draft
        return await self.services.drafts.save(draft.slug, content, self.act(), replaces=replaces)


def version_text(draft: OpenDraft) -> str:
    """The version of a draft for the hidden field."""
    return "" if draft.version is None else str(draft.version)


def first_sentence(error: ConfigurationError) -> str:
    """The first problem, as a sentence."""
    return as_sentence(error.problems[0])


def as_sentence(problem: Problem) -> str:
    """A problem as a sentence for people."""
    message = problem.message.removeprefix("providers.<name>.").replace("providers.<name>", "this provider")
    text = in_words(message)
    if isinstance(text, Sentence):
        return text
    return Wording(f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}")
