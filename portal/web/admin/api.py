"""One API of a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from portal.admin.api_form import (
    ADDRESS_FIELDS,
    API_FIELDS,
    CONNECTION_FIELDS,
    LIMIT_FIELDS,
    TOKEN_FIELDS,
    apis_in,
    keys_of_api,
    place_of,
)
from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.editing import values
from portal.admin.problem_words import needs_certificate
from portal.admin.provider_form import Values, changes, current_values, sort_problems
from portal.errors import ConfigurationError, NotFound, Problem, StoreUnavailable
from portal.sentences import message
from portal.web.admin.asked_views import (
    REPLACES,
    FieldGroup,
    GroupHeading,
    asked_views,
    grouped,
    groups_without_theirs,
    text_fields,
)
from portal.web.admin.draft_forms import MOST_SENTENCES, DraftFormHandler, as_sentence, version_text
from portal.web.admin.form import Form

_TEMPLATE = "admin/api.html"
_FIELDS = (*text_fields(API_FIELDS), REPLACES)
_PASTE_AGAIN = message(
    "The provider's certificate would be presented at another address now. Paste its certificate and private "
    "key again as YAML, together with this change."
)
HEADINGS = (
    GroupHeading("address", message("Where it is"), ADDRESS_FIELDS),
    GroupHeading(
        "tokens",
        message("Access tokens"),
        TOKEN_FIELDS,
        message("Leave these as they are if the API takes the access token of the sign-in."),
    ),
    GroupHeading("limits", message("Limits"), LIMIT_FIELDS, folded=True),
    GroupHeading("connection", message("Headers and certificates"), CONNECTION_FIELDS, folded=True),
)


@dataclass(frozen=True, slots=True)
class ApiPage:
    """`GET, POST /admin/t/{tenant}/draft/apis/{api}`, and `…/draft/api` for the default API."""

    slug: str
    name: str
    """Empty for the default API."""
    place: str
    """Of this page, below the draft."""
    path: str
    """Where pages call the API."""
    groups: tuple[FieldGroup, ...]
    replaces: str
    here: tuple[str, ...] = ()
    """Problems of this API that belong to no field."""
    elsewhere: int = 0
    problems: int = 0
    """Of the draft."""
    has_secret: bool = False
    """Whether a certificate authority was typed: it is not shown again."""
    saved: bool = False
    conflict: bool = False
    refused: bool = False
    unavailable: bool = False
    """Whether the database does not respond."""


def _opened(content: str, slug: str, api: str) -> Values | None:
    """Read an API of a content; None if there is none with this name."""
    root = values(content, slug)
    if api not in {one.name for one in apis_in(root)}:
        return None
    return current_values(root, keys_of_api(api), API_FIELDS)


class ApiHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/apis/{api}`, `…/draft/api`: shows and changes an API."""

    async def get(self, tenant: str, api: str = "") -> None:
        draft = await self.open_draft(tenant)
        page = self._page(draft, api, await self._open(draft, api), draft.problems)
        self.show(_TEMPLATE, replace(page, saved=bool(self.get_query_argument("saved", ""))))

    async def post(self, tenant: str, api: str = "") -> None:
        form = self.read_form(_FIELDS)
        replaces = self.replaced_version(form)
        draft = await self.open_draft(tenant)
        opened = await self._open(draft, api)
        if form.errors:
            self._show_again(self._page(draft, api, opened, (), form), replaces)
            return
        if draft.version != replaces:
            self._show_conflict(draft, api, opened, form)
            return
        changed, _ = changes(API_FIELDS, form.values, opened, keys_of_api(api))
        try:
            await self.save_changes(draft, changed, replaces)
        except ConfigurationError as error:
            self._show_again(self._page(draft, api, opened, error.problems, form), replaces)
        except StoreUnavailable as error:
            self.set_status(error.status)
            page = _without_theirs(self._page(draft, api, opened, (), form))
            self.show(_TEMPLATE, replace(page, unavailable=True))
        except DraftChanged as error:
            self._show_conflict(error.theirs, api, await self._open(error.theirs, api), form)
        else:
            self.redirect(f"{self.request.path}?saved=1", status=303)

    async def _open(self, draft: OpenDraft, api: str) -> Values:
        opened = await self.in_thread(draft.slug, _opened, draft.shown, draft.slug, api)
        if opened is None:
            raise NotFound("the draft has no such API")
        return opened

    def _show_again(self, page: ApiPage, replaces: int | None) -> None:
        """Show what was not stored: 422."""
        version = "" if replaces is None else str(replaces)
        self.show_again(_TEMPLATE, replace(_without_theirs(page), replaces=version, refused=True))

    def _show_conflict(self, theirs: OpenDraft, api: str, opened: Values, form: Form) -> None:
        """Show what was typed beside what somebody else stored meanwhile; saving again replaces that."""
        self.note_draft(theirs)
        self.set_status(409)
        self.show(_TEMPLATE, replace(self._page(theirs, api, opened, (), form), conflict=True))

    def _page(
        self,
        draft: OpenDraft,
        api: str,
        opened: Values,
        problems: Sequence[Problem],
        form: Form | None = None,
    ) -> ApiPage:
        found = sort_problems(problems, API_FIELDS, keys_of_api(api), other_providers=True)
        errors = {name: as_sentence(Problem("", text)) for name, text in found.beside.items()}
        errors |= form.errors if form else {}
        here = [as_sentence(Problem("", text)) for text in found.here[:MOST_SENTENCES]]
        if form is not None and any(map(needs_certificate, problems)):
            here.append(_PASTE_AGAIN)
        return ApiPage(
            slug=draft.slug,
            name=api,
            place=place_of(api),
            path=f"/t/{draft.slug}/{place_of(api)}/",
            groups=grouped(HEADINGS, asked_views(API_FIELDS, opened, errors=errors, typed=form)),
            replaces=version_text(draft),
            here=tuple(here),
            elsewhere=found.elsewhere,
            problems=len(problems),
            has_secret=bool(form and form["ca"]),
        )


def _without_theirs(page: ApiPage) -> ApiPage:
    return replace(page, groups=groups_without_theirs(page.groups))
