"""The fields of the console's forms that are made from what a content has, and from what is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from portal.admin.provider_form import Asked, Values
from portal.web.admin.form import Form, TextField

_CONTROLS = "\u202a-\u202e\u2066-\u2069\x7f"
"""Control characters, and those that change the direction of text (THREATS A3)."""
_ONE_LINE = rf"[^\x00-\x1f{_CONTROLS}]*"
_LINES = rf"[^\x00-\x08\x0b-\x1f{_CONTROLS}]*"
REPLACES = TextField(
    "replaces", "Version", pattern="[0-9]{1,16}", sentence="Open the page again.", longest=16, required=False
)
"""The version of the draft that the page showed, hidden; empty when nothing was stored."""


@dataclass(frozen=True, slots=True)
class AskedView:
    """A field for `templates/admin/_asked.html`."""

    name: str
    label: str
    value: str = ""
    error: str = ""
    help: str = ""
    example: str = ""
    longest: int = 500
    required: bool = False
    optional: bool = True
    secret: bool = False
    secret_set: bool = False
    lines: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    unusual: bool = False
    """The value can be edited as YAML only."""
    or_access: bool = False
    """Needed, unless the draft states who may sign in."""
    theirs: str | None = None
    """What somebody else typed meanwhile; None: the same."""
    focus: bool = False
    """Whether a browser places the cursor here."""


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Fields of a form below one heading. `id`: of the heading in the page, and the fragment of a link."""

    id: str
    title: str
    fields: tuple[AskedView, ...]
    help: str = ""
    folded: bool = False
    """Whether few need it."""

    @property
    def is_open(self) -> bool:
        """Whether a folded group is shown open: it has a value, or something is said beside a field."""
        return any(
            one.value or one.error or one.secret_set or one.unusual or one.theirs is not None
            for one in self.fields
        )


@dataclass(frozen=True, slots=True)
class GroupHeading:
    """The heading of some fields."""

    id: str
    title: str
    asked: tuple[Asked, ...]
    help: str = ""
    folded: bool = False


def text_fields(asked: Sequence[Asked]) -> tuple[TextField, ...]:
    """Return the fields for reading a form: what they mean is checked with the draft."""
    return tuple(
        TextField(
            one.name,
            one.label,
            pattern=_pattern(one),
            sentence="Choose one of these."
            if one.choices
            else "Leave out control characters" + ("." if one.lines else " and line breaks."),
            longest=one.longest,
            required=False,
            lines=one.lines,
        )
        for one in asked
    )


def _pattern(one: Asked) -> str:
    if one.choices:
        return "|".join(re.escape(value) for value, _ in one.choices)
    return _LINES if one.lines else _ONE_LINE


def asked_views(
    asked: Sequence[Asked], values: Values, *, errors: Mapping[str, str], typed: Form | None = None
) -> tuple[AskedView, ...]:
    """Return the fields with the values of the draft, or with what was typed instead."""
    views = (_view(one, values, errors.get(one.name, "")) for one in asked)
    return tuple(views if typed is None else (_typed(view, typed) for view in views))


def _view(one: Asked, values: Values, error: str) -> AskedView:
    return AskedView(
        name=one.name,
        label=one.label,
        value=values.texts[one.name],
        error=error,
        help=one.help,
        example=one.example,
        longest=one.longest,
        required=one.required,
        optional=one.optional,
        secret=one.secret,
        secret_set=one.name in values.set_secrets,
        lines=one.lines,
        choices=one.choices,
        unusual=one.name in values.unusual,
        or_access=one.or_access,
    )


def _typed(view: AskedView, form: Form) -> AskedView:
    text = form.values.get(view.name)
    if text is None or view.secret or view.unusual:
        return view
    theirs = view.value if view.value != text else None
    return replace(view, value=text[: 4 * view.longest], theirs=theirs)


def forget_theirs(views: Sequence[AskedView]) -> tuple[AskedView, ...]:
    """The fields of a page on which nobody else changed anything."""
    return tuple(replace(view, theirs=None) for view in views)


def grouped(headings: Sequence[GroupHeading], views: Sequence[AskedView]) -> tuple[FieldGroup, ...]:
    """Return the fields below their headings."""
    by_name = {view.name: view for view in views}
    return tuple(
        FieldGroup(one.id, one.title, tuple(by_name[asked.name] for asked in one.asked), one.help, one.folded)
        for one in headings
    )


def groups_without_theirs(groups: Sequence[FieldGroup]) -> tuple[FieldGroup, ...]:
    """The groups of a page on which nobody else changed anything."""
    return tuple(replace(group, fields=forget_theirs(group.fields)) for group in groups)
