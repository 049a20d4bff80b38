"""Rules for parts of an API (`access.paths`): which of them are for a path. Pure, no I/O.

This is a second fence: the API decides what a user may do. APIs differ in how they read a path (upper and
lower case, parameters after `;`, file endings, a second round of decoding), and which way an API reads is not
known here. So a rule is for a path as soon as some reader could take the path for one of the rule's, and only
a path that is written to the letter lets a longer rule take the place of a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portal.access.path_reading import readable_segments, written_segments
from portal.access.rules import AccessRules, Claims, PathRules, ReadValues, Refusal, first_refusal

Segments = tuple[str, ...]


def path_refusal(access: Iterable[AccessRules], claims: Claims, path: str) -> Refusal | None:
    """The first rule for a path of the API that these claims do not satisfy; None when all hold.

    Parameters: path, percent-encoded as it is sent to the API, already accepted by proxy_rules.target_url.
    """
    entries = ReadValues()
    parts = [rules.paths for rules in access if rules.paths]
    if not parts:
        return None
    written, readable = written_segments(path), readable_segments(path)  # once: a long path takes a while
    for paths in parts:
        for applicable in _applicable(paths, written, readable):
            refusal = first_refusal(applicable.require, claims, entries)
            if refusal is not None:
                return Refusal(f"{applicable.path}: {refusal.rule}", refusal.found)
    return None


def rules_for(paths: Sequence[PathRules], path: str) -> list[PathRules]:
    """The rules that are for a path: the longest one to the letter, and those of every other reading.

    A rule for `/admin` or `/admin/` is for `/admin` and all that is below it.
    """
    return _applicable(paths, written_segments(path), readable_segments(path)) if paths else []


def _applicable(paths: Sequence[PathRules], written: Segments, readable: Segments) -> list[PathRules]:
    to_the_letter = [one for one in paths if written[: len(one.segments)] == one.segments]
    longest = max(to_the_letter, key=lambda one: len(one.segments), default=None)
    others = [one for one in paths if longest is None or len(one.segments) > len(longest.segments)]
    other_readings = [one for one in others if _may_begin_with(readable, one.readable)]
    return other_readings if longest is None else [longest, *other_readings]


def _may_begin_with(segments: Sequence[str], first: Sequence[str]) -> bool:
    """Whether they begin so; more may follow in a segment: `/orders.json` and `/orders(7)` are `/orders`."""
    return len(segments) >= len(first) and all(
        found.startswith(wanted) and not _goes_on(found[len(wanted) :])
        for found, wanted in zip(segments, first, strict=False)
    )


def _goes_on(rest: str) -> bool:
    """Whether the name of a segment is longer than what is before: `/orders-old` is not `/orders`."""
    return bool(rest) and (rest[0].isalnum() or rest[0] in "-_~")
