"""Rules for parts of an API (`access.paths`): which of them apply to a path. Pure, no I/O.

This is defense in depth: the API decides what a user may do. APIs differ in how they interpret a path (upper
and lower case, parameters after `;`, file extensions, a second round of decoding), and the portal does not
know how. So a rule applies to a path as soon as some server could interpret the path as one of the rule's,
and a longer rule replaces a shorter one only for a literal match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portal.access.path_reading import readable_segments, written_segments
from portal.access.rules import AccessRules, Claims, PathRules, ReadValues, Refusal, first_refusal

Segments = tuple[str, ...]


def path_refusal(
    access: Iterable[AccessRules], claims: Claims, path: str, *, api: str = ""
) -> Refusal | None:
    """The first rule for a path of an API that these claims do not satisfy; None when all are satisfied.

    Parameters: api, the name of the API, empty for the default one; path,
    percent-encoded as sent to the API, already accepted by `rules.target_url` of
    portal.web.api_proxy.
    """
    entries = ReadValues()
    parts = [paths for rules in access if (paths := rules.paths_of(api))]
    if not parts:
        return None
    written, readable = written_segments(path), readable_segments(path)  # only once: slow for a long path
    for paths in parts:
        for applicable in _applicable(paths, written, readable):
            refusal = first_refusal(applicable.require, claims, entries)
            if refusal is not None:
                return Refusal(f"{applicable.place}: {refusal.rule}", refusal.found)
    return None


def rules_for(paths: Sequence[PathRules], path: str) -> list[PathRules]:
    """The rules for a path: the longest literal match, and those of every other interpretation.

    A rule for `/admin` or `/admin/` applies to `/admin` and everything below it.
    """
    return _applicable(paths, written_segments(path), readable_segments(path)) if paths else []


def _applicable(paths: Sequence[PathRules], written: Segments, readable: Segments) -> list[PathRules]:
    literal = [one for one in paths if written[: len(one.segments)] == one.segments]
    longest = max(literal, key=lambda one: len(one.segments), default=None)
    others = [one for one in paths if longest is None or len(one.segments) > len(longest.segments)]
    other_readings = [one for one in others if _may_begin_with(readable, one.readable)]
    return other_readings if longest is None else [longest, *other_readings]


def _may_begin_with(segments: Sequence[str], first: Sequence[str]) -> bool:
    """Whether they begin with `first`; `/orders.json` and `/orders(7)` count as `/orders`."""
    return len(segments) >= len(first) and all(
        found.startswith(name) and not _continues_name(found[len(name) :])
        for found, name in zip(segments, first, strict=False)
    )


def _continues_name(rest: str) -> bool:
    """Whether `rest` belongs to the name before it: `/orders-old` is not `/orders`."""
    return bool(rest) and (rest[0].isalnum() or rest[0] in "-_~")
