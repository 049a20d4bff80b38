"""The applications that an organisation's page leads to: the main one, and a list of links.

The buttons that add, remove and move a link show the form again with what was typed and store nothing, so
that it works without JavaScript and a removed link can be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.editing import set_values, values
from portal.admin.link_form import HOME_FIELD, LINK_FIELDS, LINKS, MOST_LINKS, Link, links_in, with_links
from portal.admin.provider_form import Asked, Values, changes, current_values, sort_problems
from portal.errors import ConfigurationError, Problem, StoreUnavailable
from portal.sentences import message
from portal.web.admin.asked_views import REPLACES, AskedView, asked_views, forget_theirs, text_fields
from portal.web.admin.draft_forms import DraftFormHandler, as_sentence, version_text
from portal.web.admin.form import Form, TextField, empty_form

_TEMPLATE = "admin/applications.html"
_AGAIN = message("Open the page again.")
_ACT = TextField(
    "act",
    "Act",
    r"add|save|(?:remove|undo|up) [0-9]{1,2}",
    message("Press one of the buttons."),
    20,
    required=False,
)
_ROWS = TextField("rows", "Rows", "[0-9]{0,2}", _AGAIN, 2, required=False)
"""How many links the page has, hidden."""


def _asked(number: int) -> tuple[Asked, ...]:
    """The fields of one link."""
    return tuple(replace(one, name=f"{one.name}-{number}") for one in LINK_FIELDS)


_ROW_FIELDS = tuple(_asked(number) for number in range(MOST_LINKS))
_GONE_FIELDS = tuple(
    TextField(f"gone-{number}", "Removed", "1?", _AGAIN, 1, required=False) for number in range(MOST_LINKS)
)
_FIELDS = (
    *text_fields((HOME_FIELD, *(one for row in _ROW_FIELDS for one in row))),
    *_GONE_FIELDS,
    *(_ACT, _ROWS, REPLACES),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A link in the form. `gone`: whether it is removed when the form is saved."""

    link: Link
    gone: bool = False


@dataclass(frozen=True, slots=True)
class RowView:
    """A link as the page shows it."""

    number: int
    fields: tuple[AskedView, ...]
    title: str
    """Of the link, or its address; empty for a new one."""
    gone: bool


@dataclass(frozen=True, slots=True)
class ApplicationsPage:
    """`GET, POST /admin/t/{tenant}/draft/applications`."""

    slug: str
    home: AskedView
    rows: tuple[RowView, ...]
    fixed: bool
    """Whether the links are written in a form that the page cannot show."""
    most: int
    replaces: str
    elsewhere: int = 0
    problems: int = 0
    """Of the draft."""
    here: str = ""
    """What is wrong with the list as a whole."""
    theirs: tuple[Link, ...] = ()
    """Links that somebody else stored meanwhile, and that are not below."""
    saved: bool = False
    conflict: bool = False
    refused: bool = False
    unavailable: bool = False
    has_secret: bool = False


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a content has."""

    home: Values
    links: tuple[Link, ...] | None


def _opened(content: str, slug: str) -> _Opened:
    root = values(content, slug)
    return _Opened(current_values(root, (), (HOME_FIELD,)), links_in(root))


def _changed(
    content: str, slug: str, home: Mapping[tuple[str, ...], object], links: Sequence[Link] | None
) -> str:
    content = set_values(content, home, slug) if home else content
    return content if links is None else with_links(content, links, slug)


class ApplicationsHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/applications`: shows and changes them."""

    async def get(self, tenant: str) -> None:
        draft = await self.open_draft(tenant)
        opened = await self._open(draft)
        rows = [Row(link) for link in opened.links or ()] or [Row(Link())]
        page = self._page(draft, opened, rows, empty_form(_FIELDS), problems=draft.problems, typed=False)
        self.show(_TEMPLATE, replace(page, saved=bool(self.get_query_argument("saved", ""))))

    async def post(self, tenant: str) -> None:
        form = self.read_form(_FIELDS)
        replaces = self.replaced_version(form)
        draft = await self.open_draft(tenant)
        opened = await self._open(draft)
        rows = _typed_rows(form)
        act, _, number = form["act"].partition(" ")
        if "act" in form.errors or form.errors.keys() & {one.name for one in (_ROWS, *_GONE_FIELDS)}:
            self._show_again(self._page(draft, opened, rows, form), replaces)
        elif act and act != "save":
            self._show_rows(
                draft, opened, form, replaces, _after(rows, act, int(number or 0)), added=act == "add"
            )
        elif form.errors:
            self._show_again(self._page(draft, opened, rows, form), replaces)
        elif draft.version != replaces:
            self._show_conflict(draft, opened, rows, form)
        else:
            await self._save(draft, opened, rows, form, replaces)

    async def _save(
        self, draft: OpenDraft, opened: _Opened, rows: Sequence[Row], form: Form, replaces: int | None
    ) -> None:
        home, _ = changes((HOME_FIELD,), form.values, opened.home, ())
        links = None if opened.links is None else [row.link for row in rows if not row.gone]
        try:
            content = await self.in_thread(draft.slug, _changed, draft.shown, draft.slug, home, links)
            await self.save_content(draft, content, replaces)
        except ConfigurationError as error:
            self._show_again(self._page(draft, opened, rows, form, problems=error.problems), replaces)
        except StoreUnavailable as error:
            self.set_status(error.status)
            page = self._page(draft, opened, rows, form)
            self.show(_TEMPLATE, replace(_without_theirs(page), unavailable=True))
        except DraftChanged as error:
            self._show_conflict(error.theirs, await self._open(error.theirs), rows, form)
        else:
            self.redirect(f"{self.request.path}?saved=1", status=303)

    async def _open(self, draft: OpenDraft) -> _Opened:
        return await self.in_thread(draft.slug, _opened, draft.shown, draft.slug)

    def _show_rows(
        self,
        draft: OpenDraft,
        opened: _Opened,
        form: Form,
        replaces: int | None,
        rows: Sequence[Row],
        *,
        added: bool,
    ) -> None:
        """Show the form again with other links: nothing is stored."""
        form.errors.clear()  # the links have other numbers now; saving checks them
        page = _without_theirs(self._page(draft, opened, rows, form))
        version = "" if replaces is None else str(replaces)
        views = [*page.rows[:-1], _focused(page.rows[-1])] if added and page.rows else page.rows
        self.show(_TEMPLATE, replace(page, replaces=version, rows=tuple(views)))

    def _show_again(self, page: ApplicationsPage, replaces: int | None) -> None:
        """Show what was not stored: 422."""
        version = "" if replaces is None else str(replaces)
        self.show_again(_TEMPLATE, replace(_without_theirs(page), replaces=version, refused=True))

    def _show_conflict(self, theirs: OpenDraft, opened: _Opened, rows: Sequence[Row], form: Form) -> None:
        """Show what was typed, and the links of somebody else that are not among it."""
        self.note_draft(theirs)
        typed = {row.link for row in rows if not row.gone}
        others = tuple(link for link in opened.links or () if link not in typed)
        self.set_status(409)
        page = self._page(theirs, opened, rows, form)
        self.show(_TEMPLATE, replace(page, conflict=True, theirs=others))

    def _page(
        self,
        draft: OpenDraft,
        opened: _Opened,
        rows: Sequence[Row],
        form: Form,
        *,
        problems: Sequence[Problem] = (),
        typed: bool = True,
    ) -> ApplicationsPage:
        found = sort_problems(problems, (HOME_FIELD,), (), other_providers=True)
        errors = {name: as_sentence(Problem("", text)) for name, text in found.beside.items()} | form.errors
        [home] = asked_views((HOME_FIELD,), opened.home, errors=errors, typed=form if typed else None)
        numbers = [number for number, row in enumerate(rows) if not (row.gone or row.link.is_empty)]
        beside, here = _link_errors(problems, numbers)
        return ApplicationsPage(
            slug=draft.slug,
            home=home,
            rows=tuple(_row_view(number, row, beside | form.errors) for number, row in enumerate(rows)),
            fixed=opened.links is None,
            most=MOST_LINKS,
            replaces=version_text(draft),
            elsewhere=len(problems) - len(found.beside) - len(beside) - bool(here),
            problems=len(problems),
            here=here,
        )


def _typed_rows(form: Form) -> list[Row]:
    """The links that were typed; a number that no page sends is as none."""
    rows = int(form["rows"]) if form["rows"] and "rows" not in form.errors else 0
    found: list[Row] = []
    for asked in _ROW_FIELDS[: min(rows, MOST_LINKS)]:
        number = len(found)
        texts = {one.key[0]: form[one.name] for one in asked}
        found.append(Row(Link(**texts), gone=form[f"gone-{number}"] == "1"))
    return found


def _after(rows: Iterable[Row], act: str, number: int) -> list[Row]:
    """The links after a button was pressed. Parameters: number, of the link; none has it: nothing changes."""
    found = list(rows)
    if act == "add" and len(found) < MOST_LINKS:
        return [*found, Row(Link())]
    if number >= len(found):
        return found
    if act == "up" and number:
        found[number - 1], found[number] = found[number], found[number - 1]
    elif act == "undo":
        found[number] = replace(found[number], gone=False)
    elif act == "remove" and found[number].link.is_empty:
        del found[number]
    elif act == "remove":
        found[number] = replace(found[number], gone=True)
    return found


def _row_view(number: int, row: Row, errors: Mapping[str, str]) -> RowView:
    asked = _asked(number)
    texts = {one.name: getattr(row.link, one.key[0])[: 4 * one.longest] for one in asked}
    views = asked_views(asked, Values(texts, frozenset(), frozenset()), errors=errors)
    return RowView(number, views, (row.link.title or row.link.url)[:200], row.gone)


def _focused(row: RowView) -> RowView:
    """The link that was just added, with the cursor in its first field."""
    return replace(row, fields=(replace(row.fields[0], focus=True), *row.fields[1:]))


def _link_errors(problems: Sequence[Problem], numbers: Sequence[int]) -> tuple[dict[str, str], str]:
    """The problems of links by the field that they are about, and the first of the whole list.

    Parameters: numbers, those of the links in the form, in the order of the content.
    """
    beside: dict[str, str] = {}
    here = ""
    for problem in problems:
        keys = problem.keys or ()
        if keys[:1] != (LINKS,):
            continue
        place = keys[1] if len(keys) > 2 else None
        if isinstance(place, int) and place < len(numbers):
            asked = _asked(numbers[place])
            alone = replace(problem, keys=keys[2:])
            found = sort_problems((alone,), asked, (), other_providers=True)
            beside |= {name: as_sentence(Problem("", text)) for name, text in found.beside.items()}
        else:
            here = here or as_sentence(problem)
    return beside, here


def _without_theirs(page: ApplicationsPage) -> ApplicationsPage:
    [home] = forget_theirs((page.home,))
    return replace(page, home=home)
