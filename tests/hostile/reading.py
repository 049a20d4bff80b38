"""Reads tokens and log lines."""

from __future__ import annotations

import base64
import io
import json

from tests.hostile.documents import Members, members_of


def lines_of(log_lines: io.StringIO, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


def parts_of(token: str) -> tuple[Members, Members]:
    header, payload, _ = token.split(".")
    return _read(header), _read(payload)


def _read(part: str) -> Members:
    return members_of(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
