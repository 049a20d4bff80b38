"""Reads the time that a response states."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from portal.outbound.client import OutboundResponse

_LONGEST_AGE = 8


def stated_time(response: OutboundResponse) -> float | None:
    """Return the time that a response states, in seconds since the epoch, UTC; None without a usable one.

    A cache keeps the Date of the original response and states how old that is (RFC 9111 5.1).
    """
    date, age = response.header("Date"), response.header("Age") or "0"
    if date is None or not age.isdecimal() or len(age) > _LONGEST_AGE:
        return None
    try:
        stated = parsedate_to_datetime(date[:100])
        return stated.replace(tzinfo=stated.tzinfo or UTC).timestamp() + float(age)
    except (ValueError, OverflowError):
        return None
