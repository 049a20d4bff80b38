"""The APIs of a draft: the list, adding and removing one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from portal.admin.api_form import (
    ADDRESS_FIELDS,
    ApiEntry,
    added,
    apis_in,
    name_problem,
    place_of,
    removed,
)
from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.editing import Root, values
from portal.config.api_paths import SLUG
from portal.errors import ConfigurationError, StoreUnavailable
from portal.sentences import message
from portal.web.admin.asked_views import REPLACES, AskedView
from portal.web.admin.draft_forms import DraftFormHandler, first_sentence, version_text
from portal.web.admin.form import Form, TextField, empty_form

_TEMPLATE = "admin/apis.html"
_PLACE = rf"(?:api|apis/{SLUG})"
_NAME = TextField(
    "name",
    "Short name",
    "[^\x00-\x1f]*",
    message("Use small letters, digits and hyphens, at most 63, such as billing."),
    63,
    required=False,
)
_BASE_URL = TextField(
    "base-url",
    "Base URL",
    "[!-~]*",
    message("Type the URL of the API, such as https://api.example.com/v1."),
    500,
    required=False,
)
_ACT = TextField(
    "act",
    "Act",
    rf"add|save|(?:remove|undo) {_PLACE}",
    message("Press one of the buttons."),
    80,
    required=False,
)
_GONE = TextField(
    "gone",
    "Removed",
    rf"(?:{_PLACE}(?: {_PLACE})*)?",
    message("Open the page again."),
    2_000,
    required=False,
)
"""The places of the APIs that are removed when the form is saved, hidden."""
_FIELDS = (_NAME, _BASE_URL, _ACT, _GONE, REPLACES)
_ACCESS = {
    "anonymous": message("without sign-in"),
    "client": message("with a token of the portal"),
}


@dataclass(frozen=True, slots=True)
class ApiRow:
    """An API in the list."""

    name: str
    """Empty for the default API."""
    place: str
    """Of its form, below the draft."""
    base_url: str
    path: str
    """Where pages call it."""
    access: str
    """Whose calls it gets, if not those of users."""
    gone: bool
    """Whether it is removed when the form is saved."""


@dataclass(frozen=True, slots=True)
class ApisPage:
    """`GET, POST /admin/t/{tenant}/draft/apis`."""

    slug: str
    rows: tuple[ApiRow, ...]
    gone: str
    name: AskedView
    base_url: AskedView
    first: bool
    """Whether there is no default API yet: its name may be left out."""
    replaces: str
    problems: int = 0
    """Of the draft."""
    notice: str = ""
    saved: bool = False
    conflict: bool = False
    refused: bool = False
    unavailable: bool = False
    has_secret: bool = False

    @property
    def changed(self) -> bool:
        """Whether something is removed when the form is saved."""
        return any(row.gone for row in self.rows)


def _opened(content: str, slug: str) -> tuple[Root, tuple[ApiEntry, ...]]:
    root = values(content, slug)
    return root, apis_in(root)


class ApisHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/apis`: lists the APIs, adds and removes them."""

    async def get(self, tenant: str) -> None:
        draft = await self.open_draft(tenant)
        page = await self._page(draft, empty_form(_FIELDS))
        saved = bool(self.get_query_argument("saved", ""))
        self.show(_TEMPLATE, replace(page, saved=saved))

    async def post(self, tenant: str) -> None:
        form = self.read_form(_FIELDS)
        replaces = self.replaced_version(form)
        draft = await self.open_draft(tenant)
        act, _, place = form["act"].partition(" ")
        if form.errors:
            await self._refuse(draft, form)
        elif act in ("remove", "undo"):
            form.values["gone"] = _with(form["gone"], place, gone=act == "remove")
            self.show(_TEMPLATE, await self._page(draft, form))
        elif act == "add":
            await self._add(draft, form)
        else:
            await self._save(draft, form, replaces)

    async def _add(self, draft: OpenDraft, form: Form) -> None:
        """Add an API to the draft as it is now: it takes the place of nothing."""
        name, base_url = form["name"], form["base-url"]
        root, _ = await self.in_thread(draft.slug, _opened, draft.shown, draft.slug)
        if problem := name_problem(name, root):
            form.refuse("name", problem)
        if not base_url:
            form.refuse("base-url", _BASE_URL.sentence)
        if form.errors:
            await self._refuse(draft, form)
            return
        try:
            await self.save_changes(draft, added(name, base_url), draft.version)
        except DraftChanged as error:
            await self._show_conflict(error.theirs, form)
        except ConfigurationError as error:
            await self._refuse(draft, form, first_sentence(error))
        except StoreUnavailable as error:
            await self._show_unavailable(draft, form, error)
        else:
            self.redirect(f"/admin/t/{draft.slug}/draft/{place_of(name)}?saved=1", status=303)

    async def _save(self, draft: OpenDraft, form: Form, replaces: int | None) -> None:
        """Remove what was marked."""
        if draft.version != replaces:
            await self._show_conflict(draft, form)
            return
        root, _ = await self.in_thread(draft.slug, _opened, draft.shown, draft.slug)
        try:
            await self.save_changes(draft, removed(root, form["gone"].split()), replaces)
        except DraftChanged as error:
            await self._show_conflict(error.theirs, form)
        except ConfigurationError as error:
            await self._refuse(draft, form, first_sentence(error))
        except StoreUnavailable as error:
            await self._show_unavailable(draft, form, error)
        else:
            self.redirect(f"{self.request.path}?saved=1", status=303)

    async def _refuse(self, draft: OpenDraft, form: Form, notice: str = "") -> None:
        page = await self._page(draft, form)
        self.show_again(_TEMPLATE, replace(page, notice=notice, refused=True))

    async def _show_conflict(self, theirs: OpenDraft, form: Form) -> None:
        """Show the APIs as they are now; what was marked stays marked."""
        self.note_draft(theirs)
        page = await self._page(theirs, form)
        self.set_status(409)
        self.show(_TEMPLATE, replace(page, conflict=True))

    async def _show_unavailable(self, draft: OpenDraft, form: Form, error: StoreUnavailable) -> None:
        page = await self._page(draft, form)
        self.set_status(error.status)
        self.show(_TEMPLATE, replace(page, unavailable=True))

    async def _page(self, draft: OpenDraft, form: Form) -> ApisPage:
        _, entries = await self.in_thread(draft.slug, _opened, draft.shown, draft.slug)
        gone = set() if "gone" in form.errors else set(form["gone"].split())
        rows = tuple(_row(draft.slug, one, gone) for one in entries)
        shown = form.bounded()
        return ApisPage(
            slug=draft.slug,
            rows=rows,
            gone=" ".join(row.place for row in rows if row.gone),
            name=AskedView(
                _NAME.name,
                _NAME.label,
                shown["name"],
                form.errors.get("name", ""),
                message(
                    "Small letters, digits and hyphens: part of its address. It cannot be changed later."
                ),
                "billing",
                longest=63,
                optional=not any(row.name == "" for row in rows),
            ),
            base_url=AskedView(
                _BASE_URL.name,
                _BASE_URL.label,
                shown["base-url"],
                form.errors.get("base-url", ""),
                ADDRESS_FIELDS[0].help,
                ADDRESS_FIELDS[0].example,
                optional=False,
            ),
            first=not any(row.name == "" for row in rows),
            replaces=version_text(draft),
            problems=len(draft.problems),
        )


def _row(slug: str, one: ApiEntry, gone: set[str]) -> ApiRow:
    return ApiRow(
        name=one.name,
        place=one.place,
        base_url=one.base_url,
        path=f"/t/{slug}/{one.place}/",
        access=_ACCESS.get(one.access, ""),
        gone=one.place in gone,
    )


def _with(places: str, place: str, *, gone: bool) -> str:
    """The places that are removed, with one more or less."""
    others = [one for one in places.split() if one != place]
    return " ".join([*others, place] if gone else others)
