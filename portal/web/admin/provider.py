"""One provider of a draft: the steps at its console, and the form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.editing import Keys, values
from portal.admin.provider_entries import provider_keys
from portal.admin.provider_fields import asked_fields
from portal.admin.provider_form import (
    Asked,
    Sorted,
    Values,
    changes,
    current_values,
    note_on,
    sort_problems,
)
from portal.errors import ConfigurationError, NotFound, Problem, StoreUnavailable
from portal.tenancy.presets import DEFAULT, Preset, Presets
from portal.tenancy.presets.pages import preset_urls
from portal.tenancy.presets.templates import placeholders, value_at
from portal.web.admin.asked_views import REPLACES, asked_views, forget_theirs, text_fields
from portal.web.admin.draft_forms import MOST_SENTENCES, DraftFormHandler, as_sentence, version_text
from portal.web.admin.form import Form
from portal.web.admin.provider_views import GuideStep, ProviderPage, logo_of, preset_at, preset_card

_TEMPLATE = "admin/provider.html"


@dataclass(frozen=True, slots=True)
class _Opened:
    """A provider of a draft, as its form needs it."""

    preset: Preset
    at: Keys
    several: bool
    asked: tuple[Asked, ...]
    values: Values
    has_client: bool


def _opened(presets: Presets, content: str, slug: str, provider: str) -> _Opened | None:
    """Read a provider of a content; None if there is none with this id."""
    root = values(content, slug)
    ids = provider_keys(root)
    if provider not in ids:
        return None
    at, several = ids[provider], len(ids) > 1
    preset = preset_at(root, at, presets)
    asked = asked_fields(preset, several=several)
    has_client = value_at(root, (*at, "client")) is not None
    return _Opened(preset, at, several, asked, current_values(root, at, asked), has_client)


class ProviderHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/providers/{provider}`: shows and changes a provider."""

    async def get(self, tenant: str, provider: str) -> None:
        draft = await self.open_draft(tenant)
        opened = await self._open(draft, provider)
        saved = bool(self.get_query_argument("saved", ""))
        problems = (
            draft.problems if saved or opened.has_client else ()
        )  # nothing is wrong before the first try
        page = self._page(draft, provider, opened, problems=problems)
        pasted = self.get_query_arguments("cut")
        notices = [note_on(one, opened.values) for one in opened.asked if one.name in pasted]
        self.show(_TEMPLATE, replace(page, notices=tuple(notices), saved=saved))

    async def post(self, tenant: str, provider: str) -> None:
        draft = await self.open_draft(tenant)
        opened = await self._open(draft, provider)
        form = self.read_form((*text_fields(opened.asked), REPLACES))
        replaces = self.replaced_version(form)
        if form.errors:
            self._show_again(self._page(draft, provider, opened, form=form), replaces)
            return
        if draft.version != replaces:
            self._show_conflict(draft, provider, opened, form)
            return
        try:
            changed, cut = changes(opened.asked, form.values, opened.values, opened.at)
            await self.save_changes(draft, changed, replaces)
        except ConfigurationError as error:
            page = self._page(draft, provider, opened, problems=error.problems, form=form)
            self._show_again(page, replaces)
        except StoreUnavailable as error:
            self.set_status(error.status)
            page = _without_theirs(self._page(draft, provider, opened, form=form))
            self.show(_TEMPLATE, replace(page, unavailable=True))
        except DraftChanged as error:
            self._show_conflict(error.theirs, provider, await self._open(error.theirs, provider), form)
        else:
            notes = "".join(f"&cut={name}" for name in cut)
            self.redirect(f"{self.request.path}?saved=1{notes}", status=303)

    async def _open(self, draft: OpenDraft, provider: str) -> _Opened:
        opened = await self.in_thread(draft.slug, _opened, self.presets, draft.shown, draft.slug, provider)
        if opened is None:
            raise NotFound("the draft has no such provider")
        return opened

    def _show_again(self, page: ProviderPage, replaces: int | None) -> None:
        """Show what was not stored: 422."""
        version = "" if replaces is None else str(replaces)
        self.show_again(_TEMPLATE, replace(_without_theirs(page), replaces=version, refused=True))

    def _show_conflict(self, theirs: OpenDraft, provider: str, opened: _Opened, form: Form) -> None:
        """Show what was typed beside what somebody else stored meanwhile; saving again replaces that."""
        self.note_draft(theirs)
        self.set_status(409)
        self.show(_TEMPLATE, replace(self._page(theirs, provider, opened, form=form), conflict=True))

    def _page(
        self,
        draft: OpenDraft,
        provider: str,
        opened: _Opened,
        *,
        problems: Sequence[Problem] = (),
        form: Form | None = None,
    ) -> ProviderPage:
        found = sort_problems(problems, opened.asked, opened.at, other_providers=opened.several)
        errors = {name: as_sentence(Problem("", text)) for name, text in found.beside.items()}
        views = asked_views(
            opened.asked, opened.values, errors=errors | (form.errors if form else {}), typed=form
        )
        folded = {one.name for one in opened.asked if one.more}
        more = tuple(view for view in views if view.name in folded)
        preset, urls = opened.preset, self._urls(draft.slug, provider, opened)
        return ProviderPage(
            slug=draft.slug,
            id=provider,
            several=opened.several,
            title=preset_card(preset).title,
            logo=logo_of(preset),
            generic=preset.name == DEFAULT,
            steps=tuple(GuideStep(step, urls) for step in preset.console),
            logout=_only_new(preset, urls),
            notes=preset.notes,
            unverified=tuple(one.facts for one in preset.sources if one.unverified),
            fields=tuple(view for view in views if view.name not in folded),
            more=more,
            more_open=any(view.error or view.theirs is not None for view in more),
            replaces=version_text(draft),
            here=_sentences(found),
            elsewhere=found.elsewhere,
            problems=len(problems),
        )

    def _urls(self, slug: str, provider: str, opened: _Opened) -> dict[str, str]:
        origin = self.portal.sites.main.origin
        return dict(preset_urls(origin, slug, provider if opened.several else None))


def _without_theirs(page: ProviderPage) -> ProviderPage:
    fields, more = forget_theirs(page.fields), forget_theirs(page.more)
    return replace(page, fields=fields, more=more, more_open=any(view.error for view in more))


def _only_new(preset: Preset, urls: dict[str, str]) -> tuple[GuideStep, ...]:
    """What is registered for logouts, without the URLs that the steps have already."""
    told = {name for step in preset.console for name in placeholders(step)}
    further = (step for step in preset.logout.registration if not {*placeholders(step)} & told)
    return tuple(GuideStep(step, urls) for step in further)


def _sentences(found: Sorted) -> tuple[str, ...]:
    return tuple(as_sentence(Problem("", text)) for text in found.here[:MOST_SENTENCES])
