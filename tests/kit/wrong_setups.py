"""Wrong set-ups of tenants, and which live check says so in which words: docs/live-checks.yaml.

The tests try each at a real provider. In the texts, `<issuer>`, `<host>`, `<redirect URI>`, `<day>` and `<n>`
stand for the values of a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from portal.tenancy.checks.live.model import CheckResult

TABLE = Path(__file__).resolve().parents[2] / "docs" / "live-checks.yaml"
KEYCLOAK = "Keycloak"
CERTIFIED = "oidc-provider"
DEVELOPMENT = "development provider"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ADDRESS = re.compile(r"(127\.0\.0\.1|localhost):\d{4,5}")
_CLOCK = re.compile(r"clock is \d+ s")


@dataclass(frozen=True, slots=True)
class WrongSetup:
    """One mistake, and the result that names it."""

    mistake: str
    check: str
    status: str
    seen: str
    advice: str = ""


def wrong_setups(provider: str) -> dict[str, WrongSetup]:
    """Return the wrong set-ups at one provider, by the mistake."""
    document = yaml.load(TABLE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return {entry["mistake"]: WrongSetup(**entry) for entry in document[provider]}


def named(mistake: str, result: CheckResult, values: Mapping[str, str]) -> WrongSetup:
    """Return a result as it stands in the table. Parameters: values, of the run, by placeholder."""
    texts = (_general(text, values) for text in (result.seen, result.advice))
    return WrongSetup(mistake, result.check, result.status.value, *texts)


def difference(setup: WrongSetup, results: Sequence[CheckResult], values: Mapping[str, str]) -> str | None:
    """Return what is not as the table says; None if the check names the mistake in the same words."""
    found = [named(setup.mistake, result, values) for result in results]
    if setup in found:
        return None
    problems = [one for one in found if one.status in {"fail", "warn"}]
    return f"expected {setup}\nfound {problems}"


def _general(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in sorted(values.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(value, f"<{placeholder}>")
    return _CLOCK.sub("clock is <n> s", _DAY.sub("<day>", _ADDRESS.sub("<host>", text)))
