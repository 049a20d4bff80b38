"""Choosing, adding and removing the providers of a draft."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.editing import values
from portal.admin.provider_entries import (
    MOST_PROVIDERS,
    free_id,
    id_problem,
    is_address,
    is_begun_only,
    named,
    provider_keys,
    recognized,
    with_other_kind,
    with_provider,
    without_provider,
)
from portal.errors import BadRequest, ConfigurationError, NotFound
from portal.sentences import message, sentence
from portal.tenancy.presets import DEFAULT, Presets
from portal.web.admin.asked_views import REPLACES, AskedView
from portal.web.admin.draft_forms import DraftFormHandler, first_sentence, version_text
from portal.web.admin.form import Form, TextField, empty_form
from portal.web.admin.provider_views import (
    ChoicePage,
    Existing,
    Found,
    PresetCard,
    RemovePage,
    existing_providers,
    preset_card,
    preset_cards,
)

_ID_SENTENCE = message("Use small letters, digits and hyphens, at most 63, such as staff.")
_ID = TextField("id", "Short name of the new provider", "[^\x00-\x1f]*", _ID_SENTENCE, 63, required=False)
_FIRST_ID = TextField(
    "first_id", "Short name of the provider that is there", _ID.pattern, _ID_SENTENCE, 63, False
)
_PRESET = TextField("preset", "Provider", "[a-z][a-z0-9_.-]{0,39}", "Choose a provider.", 40, required=False)
_QUERY = TextField(
    "q",
    "Which provider is this?",
    "[ -~]*",
    "Type a name such as Okta, or paste the issuer, such as https://login.example.com.",
    300,
    False,
)
_OTHER = TextField("instead", "In place of", "[a-z0-9-]{1,63}", "Open the page again.", 63, required=False)
"""The id of the provider whose kind is chosen again, hidden."""
_CHOICE_FIELDS = (_ID, _FIRST_ID, _PRESET, _QUERY, _OTHER, REPLACES)
_CHANGED = message(
    "Somebody else changed the draft meanwhile. This page shows it as it is now; nothing was stored."
)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the page about a further provider is made from."""

    cards: tuple[PresetCard, ...]
    generic: PresetCard
    existing: tuple[Existing, ...]
    has_id: bool
    is_first: bool
    free_id: str


def _choice(presets: Presets, draft: OpenDraft, callback: str) -> _Choice:
    root = values(draft.shown, draft.slug)
    generic = presets.find(DEFAULT)
    if generic is None:
        raise NotFound("there is no generic preset")
    return _Choice(
        preset_cards(presets),
        preset_card(generic),
        existing_providers(draft.shown, draft.slug, presets, callback),
        has_id="providers" in root,
        is_first=not provider_keys(root) or is_begun_only(root),
        free_id=free_id("second", root),
    )


def _search(presets: Presets, query: str) -> Found | None:
    if not query:
        return None
    by_name = named(query, presets)
    if by_name:
        return Found("", tuple(map(preset_card, by_name)), known=True)
    address = is_address(query)
    preset, _ = recognized(query, presets) if address else (None, {})
    known = preset or presets.find(DEFAULT)
    if known is None:
        return None
    return Found(query if address else "", (preset_card(known),), known=preset is not None, address=address)


class NewProviderHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/providers/new`: chooses the kind of a further provider."""

    async def get(self, tenant: str) -> None:
        draft = await self.open_draft(tenant)
        form = empty_form(
            _CHOICE_FIELDS,
            q=self.get_query_argument("q", "")[:300],
            instead=self.get_query_argument("instead", "")[:63],
        )
        problem = _QUERY.problem_of(form["q"])
        if problem:
            form.refuse("q", problem)
        await self._show(draft, form)

    async def post(self, tenant: str) -> None:
        form = self.read_form(_CHOICE_FIELDS)
        replaces = self.replaced_version(form)
        draft = await self.open_draft(tenant)
        if form.errors:
            await self._show(draft, form)
            return
        try:
            id_, content = await self.in_thread(tenant, _with_choice, self.presets, draft, form)
            if form.errors:
                await self._show(draft, form)
                return
            await self.save_content(draft, content, replaces)
        except ConfigurationError as error:
            await self._show(draft, form, first_sentence(error))
        except DraftChanged as error:
            self.set_status(error.status)
            await self._show(error.theirs, form, _CHANGED)
        else:
            self.redirect(f"/admin/t/{tenant}/draft/providers/{id_}", status=303)

    async def _show(self, draft: OpenDraft, form: Form, notice: str = "") -> None:
        slug = draft.slug
        choice = await self.in_thread(slug, _choice, self.presets, draft, self._callback(slug))
        query = "" if "q" in form.errors else form["q"]
        found = await self.in_thread(slug, _search, self.presets, query)
        instead = next((one for one in choice.existing if one.id == form["instead"]), None)
        further = not choice.is_first and instead is None
        alone = choice.existing[0] if len(choice.existing) == 1 and further else None
        page = ChoicePage(
            slug=slug,
            replaces=version_text(draft),
            cards=(*choice.cards, choice.generic),
            instead=instead,
            existing=choice.existing if further else (),
            changes_callback=alone,
            has_id=choice.has_id,
            id=_id_view(form, _ID, message("Without a value, that of its kind, such as okta."))
            if further
            else None,
            first_id=_first_id_view(form) if alone and not choice.has_id else None,
            query=form["q"],
            query_error=form.errors.get("q", ""),
            found=found,
            notice=notice or form.errors.get("preset", ""),
        )
        if form.errors or (notice and self.get_status() == 200):
            self.set_status(422)
        self.show("admin/provider_choice.html", page)

    def _callback(self, slug: str) -> str:
        return f"{self.portal.sites.main.origin}/t/{slug}/callback"


def _with_choice(presets: Presets, draft: OpenDraft, form: Form) -> tuple[str, str]:
    """The id and the content with the provider that was chosen; errors are added to the form.

    Raises: ConfigurationError; BadRequest for a preset that the page does not have.
    """
    root = values(draft.shown, draft.slug)
    keys: dict[str, object] = {"preset": form["preset"]}
    if form["q"] and is_address(form["q"]):
        preset, found = recognized(form["q"], presets)
        if form["preset"] in (preset.name if preset else DEFAULT, ""):
            keys = found
    name = str(keys["preset"])
    if name not in presets.names():
        raise BadRequest("there is no such preset")
    ids = provider_keys(root)
    if form["instead"] in ids:
        return form["instead"], with_other_kind(draft.shown, draft.slug, form["instead"], keys)
    if len(ids) >= MOST_PROVIDERS:
        form.refuse("preset", sentence("An organisation can have %(most)s providers.", most=MOST_PROVIDERS))
    if not ids or is_begun_only(root):
        return "default", with_provider(draft.shown, draft.slug, "default", "default", keys)
    first_id = form["first_id"] or next(iter(ids))
    id_ = form["id"] or free_id(name if name != first_id else f"{name}-2", root)
    if problem := id_problem(id_, root):
        form.refuse("id", problem)
    if "providers" not in root and (problem := id_problem(first_id, {})):
        form.refuse("first_id", problem)
    if id_ == first_id:
        form.refuse("id", message("The two providers need different short names."))
    if form.errors:
        return "", ""
    return id_, with_provider(draft.shown, draft.slug, id_, first_id, keys)


def _id_view(form: Form, field: TextField, help_: str) -> AskedView:
    return AskedView(
        field.name, field.label, form[field.name], form.errors.get(field.name, ""), help_, longest=63
    )


def _first_id_view(form: Form) -> AskedView:
    return _id_view(
        form,
        _FIRST_ID,
        message("The last part of its callback URL from then on, such as staff. Without a value: default."),
    )


class RemoveProviderHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/providers/{provider}/remove`: removes one, after a question."""

    async def get(self, tenant: str, provider: str) -> None:
        await self._ask(await self.open_draft(tenant), provider)

    async def post(self, tenant: str, provider: str) -> None:
        replaces = self.replaced_version(self.read_form((REPLACES,)))
        draft = await self.open_draft(tenant)
        try:
            content = await self.in_thread(tenant, without_provider, draft.shown, tenant, provider)
            await self.save_content(draft, content, replaces)
        except KeyError:
            raise NotFound("the draft has no such provider") from None
        except DraftChanged as error:
            self.set_status(error.status)
            await self._ask(error.theirs, provider, _CHANGED)
        else:
            self.redirect(f"/admin/t/{tenant}/draft", status=303)

    async def _ask(self, draft: OpenDraft, provider: str, notice: str = "") -> None:
        callback = f"{self.portal.sites.main.origin}/t/{draft.slug}/callback"
        found = await self.in_thread(
            draft.slug, existing_providers, draft.shown, draft.slug, self.presets, callback
        )
        one = next((one for one in found if one.id == provider), None)
        if one is None:
            raise NotFound("the draft has no such provider")
        others = [other for other in found if other is not one]
        left = others[0] if len(others) == 1 else None
        page = RemovePage(
            draft.slug, one.id, one.title, version_text(draft), left, last=not others, notice=notice
        )
        self.show("admin/provider_remove.html", page)
