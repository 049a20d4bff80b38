"""Collects the text of pages into the catalogues, and checks these.

    python scripts/words.py update     add new messages to each catalogue, put away those that nothing uses
    python scripts/words.py check      report what is missing or wrong; exits with 1

Text comes from `_('…')` and `pgettext('context', '…')` in templates/; from `sentence("…")`,
`plural_sentence("…", "…", n)` and `message("…")` in portal/, the fields of forms (`TEXT_ARGUMENTS`), and the
titles and advice of errors; and from the presets. See docs/decisions/079.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TEMPLATES = ROOT / "templates"
CATALOGUES = ROOT / "portal" / "web" / "languages" / "locale"
TEXT_ARGUMENTS: dict[str, dict[str, int]] = {
    "TextField": {"label": 1, "sentence": 3, "hint": 7},
    "Asked": {"label": 1, "help": 3},
    "Step": {"title": 0, "text": 1},
    "Link": {"label": 1},
    "TenantPage": {"label": 1},
    "_field": {"label": 1, "hint": 2},
}
"""Classes and functions whose arguments are text, with the position of each."""
PROBLEM_MODULES = (
    "portal/config/validation.py",
    "portal/config/yaml_document.py",
    "portal/config/yaml_mistakes.py",
    "portal/config/field_types.py",
    "portal/config/claim_rules.py",
    "portal/config/policy_sources.py",
    "portal/config/secret_references.py",
    "portal/outbound/url_rules.py",
    "portal/admin/content.py",
    "portal/admin/problem_words.py",
    "portal/admin/draft_reading.py",
    "portal/tenancy/api_loading.py",
    "portal/tenancy/loading.py",
    "portal/tenancy/ownership.py",
    "portal/tenancy/public_issuers.py",
    "portal/tenancy/secret_notices.py",
    "portal/tenancy/stored.py",
    "portal/tenancy/presets/model.py",
    "portal/tenancy/presets/*_hooks.py",
    "portal/tenancy/schema/*.py",
    "portal/tenancy/checks/hints.py",
    "portal/tenancy/checks/preset_warnings.py",
    "portal/tenancy/checks/warnings.py",
)
"""Where the texts about tenant files are written that pages of the console show."""
PROBLEM_WORDS = (
    *("text", "nothing", "this file", "this provider", "first", "second", "single", "double", "empty"),
    *("must be like %(a)s", "looks like %(a)s", '%(a)s lacks the key "%(b)s"'),
    *('%(a)s lacks the key "%(b)s": %(c)s', "1 space", "%(a)s spaces", "unknown key in %(a)s%(b)s"),
    *(
        'unknown key "%(a)s"%(b)s',
        'unknown key "%(a)s" in %(b)s%(c)s',
        "has no value",
        "must be %(a)s",
        ", found %(a)s",
    ),
    'expected a mapping (lines of "key: value")',
    *(
        f"%(a)s {state} on %(b)s; {remedy}"
        for state in ("expires", "expired")
        for remedy in (
            "create another key at the provider",
            "remove it, so that the second one takes its place",
            "create another one at the provider, and replace it",
        )
    ),
)
"""Parts of such texts that no other text has by itself."""
_NO_MESSAGE = re.compile(r"\\1|^looks like $|^%\(a\)s %\(b\)s on |lacks the key$|^quoted scalar$")
"""Texts in those modules that no problem has; some are in PROBLEM_WORDS as they are put together."""
_NO_PROBLEMS = frozenset(
    {
        "Field",
        "WithJsonSchema",
        "_text",
        "AttributeError",
        "compile",
        "message",
        "sentence",
        "plural_sentence",
    }
)
PRESET_FIELDS = ("label", "help")
_CODE = re.compile(r"\{\{(?P<value>.*?)\}\}|\{%(?P<statement>.*?)%\}|\{#.*?#\}", re.DOTALL)
_STATEMENT = re.compile(r"^(?:set\s+\w+\s*=|if|elif|for\s+[\w, ]+\s+in)\s+(?P<value>.*)$", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{2,}")
_PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]")
_URL_NAME = re.compile(r"\{[a-z_]+\}")
_TAG = re.compile(r"</?([a-z]+)[^<>]*>")
_CHANGING = re.compile(
    r'"(?:POT-Creation-Date|PO-Revision-Date|Last-Translator|Language-Team|Report-Msgid-Bugs-To'
    r"|Project-Id-Version|Generated-By): .*\n"
)
"""Lines of the header that would change with each update."""
_SENTENCE = re.compile(r"^(?!.*\(\?)(?:.*[a-z]+ [a-z]+|[a-z]+ )", re.DOTALL)
_CODE_TAGS = frozenset({"pre", "code"})
_NEUTRAL = frozenset({"GET", "JSON", "ms"})
"""Text that is the same in every language."""
_SPOKEN = ("aria-label", "alt", "placeholder", "title")


@dataclass(frozen=True, slots=True)
class Message:
    """A text in English. `plural`: for another number than one; `context`: which of several meanings."""

    text: str
    file: str
    plural: str = ""
    context: str | None = None

    @property
    def key(self) -> tuple[str | None, str]:
        return self.context, self.text


def found_messages() -> list[Message]:
    """Return every message, by file."""
    return [*_of_templates(), *_of_modules(), *_of_presets(), *_of_checks(), *_of_problems()]


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _of_templates() -> Iterator[Message]:
    for path in sorted(TEMPLATES.rglob("*.html")):
        for code in template_code(path.read_text(encoding="utf-8")):
            yield from _marked(code, _relative(path))


def template_code(source: str) -> Iterator[ast.AST]:
    """Yield the Python expressions of a template."""
    for found in _CODE.finditer(source):
        text = found["value"]
        if text is None and found["statement"] is not None:
            statement = _STATEMENT.match(found["statement"].strip())
            text = statement["value"] if statement else None
        if text is not None:
            yield ast.parse(text.strip(), mode="eval")


def _of_modules() -> Iterator[Message]:
    for path in sorted((ROOT / "portal").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        file = _relative(path)
        yield from _marked(tree, file)
        yield from _of_errors(tree, file)


def _marked(tree: ast.AST, file: str) -> Iterator[Message]:
    """The messages that calls name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
        texts = [_constant(argument) for argument in node.args]
        if name in {"_", "sentence", "message", "plural_sentence"} and texts and texts[0]:
            plural = texts[1] if len(texts) > 1 and name in {"_", "plural_sentence"} else None
            yield Message(texts[0], file, plural or "")
        elif name == "pgettext" and len(texts) == 2 and texts[1]:
            yield Message(texts[1], file, context=texts[0])
        elif name in TEXT_ARGUMENTS:
            yield from (Message(text, file) for text in _arguments(node, texts, TEXT_ARGUMENTS[name]))
        yield from (
            Message(text, file)
            for keyword in node.keywords
            if keyword.arg == "explanation" and (text := _constant(keyword.value))
        )


def _arguments(node: ast.Call, texts: list[str | None], wanted: dict[str, int]) -> Iterator[str]:
    named = {keyword.arg: _constant(keyword.value) for keyword in node.keywords}
    for name, position in wanted.items():
        text = named.get(name) or (texts[position] if position < len(texts) else None)
        if text:
            yield text


def _of_errors(tree: ast.AST, file: str) -> Iterator[Message]:
    """`title` and `advice` of the classes of errors."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for line in node.body:
            target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
            if getattr(target, "id", "") in {"title", "advice"}:
                text = _constant(getattr(line, "value", None))
                if text:
                    yield Message(text, file)


def _constant(node: ast.AST | None) -> str | None:
    """A text that is written out; None for anything else, and for a text without words."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if _WORD.search(_PLACEHOLDER.sub("", node.value)) else None
    return None


def _of_presets() -> Iterator[Message]:
    from portal.tenancy.presets import built_in

    for preset in built_in().all():
        file = f"portal/tenancy/presets/{preset.name}.yaml"
        texts = [getattr(field, name) for field in preset.fields.values() for name in PRESET_FIELDS]
        texts += [*preset.console, *preset.logout.registration, *preset.notes]
        texts += [source.facts for source in preset.sources if source.unverified]
        texts += [mistake.advice for mistake in preset.mistakes if mistake.place == "error"]
        yield from (Message(text, file) for text in texts if _WORD.search(text))


def _of_checks() -> Iterator[Message]:
    """The texts of the live checks: they are stored, so a page finds the message of a text again."""
    for path in sorted((ROOT / "portal" / "tenancy" / "checks" / "live").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for text in stored_texts(tree):
            yield Message(text, _relative(path), context="check")


def _of_problems() -> Iterator[Message]:
    """The texts of problems, notices and rules: a page finds the messages of such a text again."""
    from portal.tenancy.presets import built_in
    from portal.tenancy.schema.tenant import ManyProvidersTenantFile, OneProviderTenantFile

    found: dict[str, str] = dict.fromkeys(PROBLEM_WORDS, "scripts/words.py")
    for pattern in PROBLEM_MODULES:
        for path in sorted(ROOT.glob(pattern)):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for stored in stored_texts(tree, without=_NO_PROBLEMS):
                # Of a refused URL, the name of the rule is for programs.
                text = stored.partition(": ")[2] if path.name == "url_rules.py" else stored
                if text and not _NO_MESSAGE.search(text):
                    found.setdefault(text, _relative(path))
    for preset in built_in().all():
        file = f"portal/tenancy/presets/{preset.name}.yaml"
        found |= dict.fromkeys((one.advice for one in preset.mistakes if one.place != "error"), file)
        if (rules := preset.api) is not None and rules.advice:
            found[rules.advice] = file
    for model in (OneProviderTenantFile, ManyProvidersTenantFile):
        found |= dict.fromkeys(_required_keys(model), "portal/tenancy/schema/tenant.py")
    yield from (Message(text, file, context="problem") for text, file in found.items())


def _required_keys(model: Any, seen: frozenset[Any] = frozenset()) -> Iterator[str]:
    """What required keys are for, as `validation` says it of one that is missing."""
    for field in model.model_fields.values():
        if field.is_required() and field.description:
            yield f"{field.description[0].lower()}{field.description[1:]}".rstrip(".")
        for inner in _models_in(field.annotation):
            if inner not in seen:
                yield from _required_keys(inner, seen | {inner})


def _models_in(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        yield annotation
    for one in get_args(annotation):
        yield from _models_in(one)


def stored_texts(tree: ast.AST, without: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the sentences of a module, with `%(name)s` for each value of an f-string.

    Parameters: without, calls whose arguments are something else.
    """
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node) in without:
            skipped |= {id(part) for part in ast.walk(node)}
        is_documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        for line in node.body if is_documented else ():  # type: ignore[attr-defined]
            if isinstance(line, ast.Expr):
                skipped.add(id(line.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        text = _pattern(node) if isinstance(node, ast.JoinedStr) else getattr(node, "value", None)
        if isinstance(text, str) and _SENTENCE.search(_PLACEHOLDER.sub("", text)):
            yield text


def _name_of(node: ast.Call) -> str:
    return str(getattr(node.func, "id", None) or getattr(node.func, "attr", ""))


def _pattern(node: ast.JoinedStr) -> str:
    """An f-string as a message; the values are called a, b, c …"""
    names = iter("abcdefgh")
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"%({next(names)})s" for part in node.values
    )


def catalogue(messages: Iterable[Message]) -> Catalog:
    """Return the messages as a catalogue without translations."""
    made = Catalog(fuzzy=False)
    for one in messages:
        id_: str | tuple[str, str] = (one.text, one.plural) if one.plural else one.text
        made.add(id_, locations=[(one.file, 0)], context=one.context)
    return made


def problems_of(entry: Entry) -> Iterator[str]:
    """Yield what is wrong with a translation."""
    english = list(entry.id) if isinstance(entry.id, (tuple, list)) else [entry.id]
    texts = list(entry.string) if isinstance(entry.string, (tuple, list)) else [entry.string]
    name = repr(english[0])
    if entry.fuzzy:
        yield f"{name} is fuzzy"
    if not all(texts) or (len(english) > 1 and len(texts) < 2):
        yield f"{name} is not translated"
        return
    allowed = {part for text in english for part in _PLACEHOLDER.findall(text)}
    required = set.intersection(*(set(_PLACEHOLDER.findall(text)) for text in english))
    for text in texts:
        used = set(_PLACEHOLDER.findall(text))
        if not required <= used <= allowed:
            yield f"{name} has other placeholders than its translation"
        if sorted(_URL_NAME.findall(text)) != sorted(_URL_NAME.findall(english[-1])):
            yield f"{name} has other URLs than its translation"
        if Counter(_TAG.findall(text)) != Counter(_TAG.findall(english[-1])):
            yield f"{name} has other tags than its translation"
        if "%" in _PLACEHOLDER.sub("", text) and allowed:
            yield f"{name}: its translation has a % that is no placeholder"


class _BareText(HTMLParser):
    """Collects the text of a template that is not within `_()`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_code += tag in _CODE_TAGS
        self.found += [value for name, value in attrs if name in _SPOKEN and value and _WORD.search(value)]

    def handle_endtag(self, tag: str) -> None:
        self._in_code -= tag in _CODE_TAGS

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if _WORD.search(text) and not self._in_code and text not in _NEUTRAL:
            self.found.append(text)


def bare_text(source: str) -> list[str]:
    """Return the text of a template that cannot be translated."""
    source = re.sub(r"\{% block width %\}\w+", "", source)
    parser = _BareText()
    parser.feed(_CODE.sub("", source))
    parser.close()
    return parser.found


def html_of_values(source: str) -> list[str]:
    """Return the calls of `html` whose message is not from the catalogue: its text would not be escaped."""
    return [
        ast.unparse(node)
        for code in template_code(source)
        for node in ast.walk(code)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "html"
        and not (
            isinstance(node.args[0], ast.Call)
            and getattr(node.args[0].func, "id", "") in {"_", "pgettext"}
            and all(isinstance(one, ast.Constant) for one in node.args[0].args[:2])
        )
    ]


def read_catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.stem.replace("-", "_"))


def checked() -> Iterator[str]:
    """Yield every problem of the templates and catalogues."""
    for path in sorted(TEMPLATES.rglob("*.html")):
        source = path.read_text(encoding="utf-8")
        yield from (f"{_relative(path)}: “{text}” is not in _()" for text in bare_text(source))
        yield from (f"{_relative(path)}: {call}: not a message" for call in html_of_values(source))
    messages = found_messages()
    alone = {one.key for one in messages if not one.plural}
    yield from (
        f"{one.text!r} has a plural and has none" for one in messages if one.plural and one.key in alone
    )
    wanted = catalogue(messages)
    for path in sorted(CATALOGUES.glob("*.po")):
        catalog = read_catalogue(path)
        has = {(entry.context, _first(entry.id)): entry for entry in catalog if entry.id}
        needs = {(entry.context, _first(entry.id)) for entry in wanted if entry.id}
        yield from (f"{path.name} lacks {text!r}" for _, text in sorted(needs - has.keys(), key=str))
        yield from (f"{path.name}: nothing uses {text!r}" for _, text in sorted(has.keys() - needs, key=str))
        yield from (f"{path.name}: {problem}" for entry in has.values() for problem in problems_of(entry))


def _first(id_: str | tuple[str, ...] | list[str]) -> str:
    return id_ if isinstance(id_, str) else id_[0]


def updated(path: Path) -> str:
    """Return a catalogue with the messages that there are now; translations stay.

    A translation that nothing uses is kept as an obsolete one, and used again when its message returns.
    """
    catalog, wanted = read_catalogue(path), catalogue(found_messages())
    for key, entry in list(catalog.obsolete.items()):
        if wanted.get(_first(entry.id), entry.context) is not None:
            catalog.add(entry.id, entry.string, context=entry.context)
            del catalog.obsolete[key]
    catalog.update(wanted, no_fuzzy_matching=True, update_header_comment=False)
    return written(catalog)


def written(catalog: Catalog) -> str:
    """Return a catalogue as text."""
    made = BytesIO()
    write_po(made, catalog, width=110, sort_output=True, include_lineno=False)
    return _CHANGING.sub("", made.getvalue().decode())


def update() -> None:
    """Add and remove messages in each catalogue."""
    for path in sorted(CATALOGUES.glob("*.po")):
        path.write_text(updated(path), encoding="utf-8")


def main(arguments: list[str]) -> int:
    if arguments == ["update"]:
        update()
        return 0
    if arguments != ["check"]:
        print(__doc__)
        return 2
    problems = list(checked())
    print("\n".join(problems) or "every text is in the catalogues")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
