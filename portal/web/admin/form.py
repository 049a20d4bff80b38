"""Reading the forms of the console: each field has a length, a pattern and its own sentence.

What is wrong is collected, so that the page can be shown again with what was typed and the sentence beside
each field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from portal.errors import BadRequest
from portal.sentences import sentence


@dataclass(frozen=True, slots=True)
class TextField:
    """A field of a form.

    `pattern` must match the whole value, in linear time; `sentence` tells what to type and is shown when it
    does not.
    """

    name: str
    label: str
    pattern: str
    sentence: str
    longest: int
    """Characters."""
    required: bool = True
    lines: bool = False
    """Whether the value may have several lines."""
    hint: str = ""

    def problem_of(self, value: str) -> str | None:
        """The sentence for a value that is not accepted."""
        if not value:
            return self.sentence if self.required else None
        if len(value) > self.longest:
            longest, length = f"{self.longest:,}", f"{len(value):,}"
            return sentence(
                "At most %(longest)s characters; this has %(length)s.", longest=longest, length=length
            )
        return None if re.fullmatch(self.pattern, value, re.DOTALL) else self.sentence


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field for `templates/admin/_field.html`."""

    name: str
    label: str
    value: str
    error: str | None
    hint: str
    longest: int
    required: bool
    lines: bool


@dataclass(slots=True)
class Form:
    """What was typed into the fields of a form."""

    fields: tuple[TextField, ...]
    values: dict[str, str]
    """By the field's name; a field that was not sent is empty."""
    errors: dict[str, str] = field(default_factory=dict)
    """The sentence for each field whose value is not accepted."""

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def bounded(self) -> Form:
        """The form with values as a page may show them: too long ones are cut."""
        longest = {one.name: 4 * one.longest for one in self.fields}
        return replace(
            self, values={name: value[: longest.get(name, 0)] for name, value in self.values.items()}
        )

    def refuse(self, name: str, sentence: str) -> None:
        """Add a sentence beside a field, for what its pattern cannot tell."""
        self.errors.setdefault(name, sentence)

    def views(self) -> dict[str, FieldView]:
        """The fields as the page shows them, by name."""
        shown = self.bounded().values
        return {
            one.name: FieldView(
                one.name,
                one.label,
                shown[one.name],
                self.errors.get(one.name),
                one.hint,
                one.longest,
                one.required,
                one.lines,
            )
            for one in self.fields
        }


def empty_form(fields: Iterable[TextField], **values: str) -> Form:
    """The form before somebody typed anything. Parameters: values, of fields that are filled in already."""
    fields = tuple(fields)
    return Form(fields, {one.name: values.get(one.name, "") for one in fields})


def read_form(sent: Mapping[str, list[str]], fields: Iterable[TextField]) -> Form:
    """Read a posted form. Raises BadRequest when a field was sent twice.

    Parameters: sent, the values of each field, as `portal.web.forms.posted_form` returns them.
    """
    fields = tuple(fields)
    form = Form(fields, {one.name: _value(sent.get(one.name, []), one) for one in fields})
    for one in fields:
        problem = one.problem_of(form.values[one.name])
        if problem is not None:
            form.refuse(one.name, problem)
    return form


def _value(sent: list[str], field_: TextField) -> str:
    if len(sent) > 1:
        raise BadRequest("a field of the form was sent twice")
    value = sent[0] if sent else ""
    return value.replace("\r\n", "\n") if field_.lines else value.strip()
