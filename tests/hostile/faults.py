"""Single faults: what a hostile provider can do to one member of a document, or to its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.hostile.documents import Json, Literal, Members, write
from tests.hostile.fault_report import EITHER

LOOK_ALIKES = str.maketrans({"a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "i": "і", "s": "ѕ", "d": "ԁ"})
"""Maps Latin letters to Cyrillic letters that look the same."""
DEEP = Literal("[" * 10_000 + "]" * 10_000)
NUMBERS: tuple[tuple[str, Literal], ...] = tuple(
    (name, Literal(text))
    for name, text in {
        "zero": "0",
        "minus one": "-1",
        "minus zero": "-0",
        "a fraction": "0.5",
        "1e400": "1e400",
        "minus 1e400": "-1e400",
        "1e308": "1e308",
        "NaN": "NaN",
        "Infinity": "Infinity",
        "minus Infinity": "-Infinity",
        "2 to the 63": str(2**63),
        "2 to the 64": str(2**64),
        "a number of 4,000 digits": "9" * 4_000,
        "a number of 5,000 digits": "9" * 5_000,
    }.items()
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A document with one fault, and the name of the fault."""

    name: str
    document: Members

    @property
    def data(self) -> bytes:
        return write(self.document).encode()


def member_faults(base: Members, *, huge: int = 1_000_000) -> Iterator[Fault]:
    """Every single fault of every member of a document. `huge`: characters of the longest string."""
    for name, held in base.pairs:
        yield Fault(f"drop {name}", base.without(name))
        yield Fault(f"duplicate {name}", base.plus(name, held))
        yield Fault(f"duplicate {name} with another value", base.plus(name, "another"))
        yield Fault(f"duplicate {name} before the right one", Members(((name, "another"), *base.pairs)))
        for kind, other in _other_names(name):
            yield Fault(f"{kind} of the name {name}", base.renamed(name, other))
            yield Fault(f"{name} again under its {kind}", base.plus(other, held))
        for kind, value in other_values(held, huge=huge):
            yield Fault(f"{name}: {kind}", base.changed(name, value))


def added_faults(base: Members, *, huge: int = 30_000) -> Iterator[Fault]:
    """Every order and addition that leaves the known members as they are."""
    yield Fault("no fault", base)
    yield Fault("members the other way round", Members(base.pairs[::-1]))
    for number, pair in enumerate(base.pairs):
        rest = base.pairs[:number] + base.pairs[number + 1 :]
        yield Fault(f"{pair[0]} moved to the end", Members((*rest, pair)))
    unknown_values: list[tuple[str, Json]] = [
        ("a string", "x"),
        ("an empty string", ""),
        ("null", None),
        ("a boolean", True),
        ("a list", [1, "a", None]),
        ("an object", Members((("a", Members((("b", 1),))),))),
        ("an object with a member twice", Members((("a", 1), ("a", 2)))),
        ("an emoji", "🙂"),
        ("an unpaired surrogate", Literal(r'"\ud800"')),
        ("a paired surrogate", Literal(r'"\ud83d\ude42"')),
        ("a NUL", "a\0b"),
        ("a long string", "x" * huge),
        ("10,000 levels", DEEP),
        ("31 levels", Literal("[" * 31 + "]" * 31)),
        ("brackets in a string", "[{" * 400),
        *NUMBERS,
    ]
    for kind, value in unknown_values:
        yield Fault(f"an unknown member: {kind}", base.plus("unknown_member", value))
    for name in ("", " ", "__proto__", "constructor", "$where", "a.b", "\0", "é", "x" * 2_000):
        yield Fault(f"an unknown member called {name[:20]!r}", base.plus(name, "x"))
    yield Fault("many unknown members", Members((*base.pairs, *((f"m{n}", n) for n in range(2_000)))))


def other_values(held: Json, *, huge: int) -> Iterator[tuple[str, Json]]:
    """Other values for a member: of every other type, and of its own type but not the same."""
    for kind, value in _retyped(held):
        yield f"retyped to {kind}", value
    for kind, literal in NUMBERS:
        yield kind, literal
    if isinstance(held, str):
        for kind, text in other_texts(held, huge=huge):
            yield kind, text
    if isinstance(held, bool):
        yield "the other one", not held
    elif isinstance(held, int | float):
        for kind, moved in _other_numbers(held):
            yield kind, moved
    if isinstance(held, list):
        yield "an empty list", []
        yield "the list twice over", [*held, *held]
        yield "an unknown entry in the list", [*held, "stranger"]
        yield "a number in the list", [*held, 1]
        yield "null in the list", [*held, None]
        yield "the list in a list", [held]
        yield "20,000 unknown entries in the list", [*held, *("x" for _ in range(20_000))]
    yield "10,000 levels", DEEP


def other_texts(held: str, *, huge: int) -> Iterator[tuple[str, str]]:
    """Strings that are not, but look like, the right one."""
    yield "an empty string", ""
    yield "another string", "stranger"
    yield "upper case", held.upper()
    yield "other case", held.swapcase()
    yield "without its last character", held[:-1]
    yield "with one character more", held + "x"
    yield "its first character again", held[:1] + held
    yield "with a slash", held + "/"
    yield "without a slash", held.removesuffix("/")
    yield "with a dot", held + "."
    for kind, space in (("a space", " "), ("a tab", "\t"), ("a line break", "\r\n"), ("a NUL", "\0")):
        yield f"with {kind} before", space + held
        yield f"with {kind} after", held + space
    yield "with a no-break space", held + "\u00a0"
    yield "with a zero-width space", held + "\u200b"
    yield "with a combining mark", held + "\u0301"
    yield "with a bidi override", "\u202e" + held
    yield "look-alike letters", held.translate(LOOK_ALIKES)
    yield (
        "full-width letters",
        "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in held),
    )
    yield "percent-encoded", "".join(f"%{byte:02x}" for byte in held.encode())
    yield "256 characters", "x" * 256
    yield "64 KB", held + "x" * 65_536
    yield "a huge string", held + "x" * huge


def _other_names(name: str) -> Iterator[tuple[str, str]]:
    yield "upper case", name.upper()
    yield "trailing space", name + " "
    yield (
        "look-alike",
        name.translate(LOOK_ALIKES) if name.translate(LOOK_ALIKES) != name else name + "\u200b",
    )
    yield "NUL", name + "\0"


def _retyped(held: Json) -> Iterator[tuple[str, Json]]:
    shapes: list[tuple[str, type | tuple[type, ...], Json]] = [
        ("null", type(None), None),
        ("true", (), True),
        ("false", (), False),
        ("the string true", (), "true"),
        ("a number", (), 1),
        ("a string of it", str, held if isinstance(held, str) else write(held)),
        ("a list of it", (), [held]),
        ("an empty list", (), []),
        ("an object of it", (), Members((("value", held),))),
        ("an empty object", (), Members(())),
    ]
    for kind, own, value in shapes:
        if (own == () or not isinstance(held, own)) and write(value) != write(held):
            yield kind, value


def _other_numbers(held: float) -> Iterator[tuple[str, Json]]:
    yield "in milliseconds", held * 1_000
    yield "in microseconds", held * 1_000_000
    yield "negative", -held
    yield "with a fraction", held + 0.25
    yield "in exponent notation", Literal(f"{held:.9e}")
    yield "a day more", held + 86_400
    yield "a day less", held - 86_400
    yield "a year more", held + 31_536_000
    yield "61 seconds more", held + 61
    yield "61 seconds less", held - 61
    yield "a second more", held + 1
    yield "a second less", held - 1
    yield "as ISO 8601", "2027-01-15T08:00:00Z"
    yield "with a plus", Literal(f'"+{held}"')


def byte_faults(text: bytes) -> Iterator[tuple[str, bytes, str | None]]:
    """Faults of the bytes of a JSON object: name, bytes, and the rule that they break (RFC 8259)."""
    yield "no fault", text, None
    yield "a byte order mark", b"\xef\xbb\xbf" + text, EITHER  # RFC 8259 8.1: may be ignored
    yield "white space around it", b" \t\r\n" + text + b" \t\r\n", None
    broken: dict[str, bytes] = {
        "nothing": b"",
        "a space": b" ",
        "null": b"null",
        "true": b"true",
        "a number": b"1",
        "a string": b'"x"',
        "a list of it": b"[" + text + b"]",
        "an empty list": b"[]",
        "it twice": text + text,
        "a trailing brace": text + b"}",
        "trailing letters": text + b"x",
        "a trailing NUL": text + b"\0",
        "a trailing comma": text[:-1] + b",}",
        "a leading letter": b"x" + text,
        "two byte order marks": b"\xef\xbb\xbf" * 2 + text,
        "UTF-16": text.decode().encode("utf-16"),
        "UTF-32": text.decode().encode("utf-32"),
        "a byte that is not UTF-8": text[:-1] + b',"x":"\xff"}',
        "an over-long NUL": text[:-1] + b',"x":"\xc0\x80"}',
        "a surrogate in UTF-8": text[:-1] + b',"x":"\xed\xa0\x80"}',
        "a raw line break in a string": text[:-1] + b',"x":"\n"}',
        "single quotes": text.replace(b'"', b"'"),
        "a comment": text + b"// x",
        "a comment inside": b"{/**/" + text[1:],
        "no quotes": b"{x:1," + text[1:],
        "HTML": b"<!doctype html><title>Sign in</title>",
        "a form": b"access_token=x&token_type=Bearer",
        "10,000 levels": b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
        "100,000 open brackets": b"[" * 100_000,
        "an open string": b'{"' + b"[" * 100_000,
    }
    for name, data in broken.items():
        yield name, data, "RFC 8259: not one JSON object in UTF-8"
    for cut in sorted({1, 2, len(text) // 4, len(text) // 2, len(text) - 2, len(text) - 1}):
        yield f"cut after {cut} bytes", text[:cut], "RFC 8259: cut off"
