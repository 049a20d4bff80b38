"""`portal tenant check --claims`: evaluates a tenant's access rules on claims and explains each result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from portal.access.rules import AccessRules, Claims, Rule, claim_at, name_of, outcomes
from portal.errors import ConfigurationError, Problem
from portal.oidc.errors import IdTokenRejected
from portal.oidc.jose.json_reading import MAX_BYTES, JsonUnreadable, read_object
from portal.oidc.jose.jws import stored_claims
from portal.tenancy.model import Tenant

_LONGEST_VALUE = 80


def read_claims(name: str) -> Claims:
    """Read claims, a JSON object or a signed JWT, from a file, or from standard input when the name is `-`.

    Nothing is verified. Raises: ConfigurationError; its message quotes nothing from the file.
    """
    place = "standard input" if name == "-" else name
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1) if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigurationError([Problem(place, f"cannot be read: {error.strerror}")]) from None
    data = data.strip()
    try:
        return read_object(data) if data.startswith(b"{") else _claims_of_token(data)
    except (JsonUnreadable, IdTokenRejected, UnicodeDecodeError) as error:
        why = error.detail if isinstance(error, IdTokenRejected) else str(error)
        why = "not ASCII" if isinstance(error, UnicodeDecodeError) else why
        message = f"holds neither claims as a JSON object nor a signed token: {why}"
        raise ConfigurationError([Problem(place, message)]) from None


def _claims_of_token(data: bytes) -> Claims:
    return stored_claims(data.decode("ascii").removeprefix("Bearer ").strip())


def claims_reporter(name: str) -> Callable[[Tenant], Iterator[str]]:
    """Read claims with `read_claims`, and return a function that reports on them for a tenant."""
    return partial(claims_report, claims=read_claims(name))


def claims_report(tenant: Tenant, claims: Claims) -> Iterator[str]:
    """Report the result of each access rule of each provider of a tenant for these claims."""
    yield f"Access rules of {tenant.slug} for these claims. No signature, time or audience was checked."
    for provider in tenant.providers.values():
        yield f"  provider {provider.id}, {provider.issuer}"
        issuer = claims.get("iss")
        if isinstance(issuer, str) and not provider.accepts_issuer(issuer):
            yield f"    ! the claims have another issuer: {_display_value(issuer)}"
        yield from _provider_report(tenant.access.get(provider.id, ()), claims)


def _provider_report(access: tuple[AccessRules, ...], claims: Claims) -> Iterator[str]:
    require = [rule for rules in access for rule in rules.require]
    if not require:
        yield "    ✓ every account of this provider may sign in: there are no rules"
    yield from _lines(require, claims, indent="    ")
    allowed = all(refusal is None for _, refusal in outcomes(require, claims))
    yield "    → may sign in" if allowed else "    → may not sign in"
    for rules in access if allowed else ():
        for part in rules.paths:
            yield f"    {part.place}"
            yield from _lines(part.require, claims, indent="      ")


def _lines(rules: list[Rule] | tuple[Rule, ...], claims: Claims, *, indent: str) -> Iterator[str]:
    for rule, refusal in outcomes(rules, claims):
        if refusal is None:
            yield f"{indent}✓ {rule}"
            continue
        yield f"{indent}✗ {rule}"
        yield f"{indent}  found {refusal.found}{_value_at(rule, claims)}"


def _value_at(rule: Rule, claims: Claims) -> str:
    there, value = claim_at(rule.claim, claims)
    return f"; {name_of(rule.claim)} is {_display_value(value)}" if there else ""


def _display_value(value: object) -> str:
    """A value in ASCII, which exposes look-alike characters, and of bounded length."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
