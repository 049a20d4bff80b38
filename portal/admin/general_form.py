"""The forms for access rules and admins, which are lists of rules on claims.

They know the common rules; any other is shown as YAML and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from portal.admin.editing import Keys
from portal.admin.yaml_text import entry

_EMAIL = "email"
_VERIFIED = "email_verified"
_DOTTED = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*")
_ADDRESS = re.compile(r"[^@]+@[^@.]+(?:\.[^@.]+)+")
_SPACES = re.compile(r"[\s,;]+")


class WhoMayIn(StrEnum):
    """The common access rules."""

    UNSTATED = "unstated"
    ANYONE = "anyone"
    EMAIL = "email"
    """Addresses that end with one of some endings."""
    CLAIM = "claim"
    """A claim that contains one of some values."""
    OTHER = "other"
    """Anything else: left alone."""


@dataclass(frozen=True, slots=True)
class AccessForm:
    """The access rules of a tenant, as the form asks for them."""

    who: WhoMayIn
    endings: str = ""
    """E-mail endings, with spaces between them."""
    verified: bool = True
    """Whether the provider must state that the address is verified."""
    claim: str = ""
    values: str = ""
    """One a line."""
    contact: str = ""
    yaml: str = ""
    """The rules as they are, for `other`."""


@dataclass(frozen=True, slots=True)
class AdminsForm:
    """The admins of a tenant, as the form asks for them."""

    emails: str = ""
    """One a line."""
    verified: bool = True
    claim: str = ""
    values: str = ""
    yaml: str = ""
    """The rules as they are, if the form cannot show them: they are left alone."""


# --- access rules


def access_form(access: object) -> AccessForm:
    """Return the form for the value of `access` in a content; None: it has none."""
    if access is None:
        return AccessForm(WhoMayIn.UNSTATED)
    if access == WhoMayIn.ANYONE.value:
        return AccessForm(WhoMayIn.ANYONE)
    found = _simple_access(access) if isinstance(access, dict) else None
    return found or AccessForm(WhoMayIn.OTHER, yaml=entry("access", access))


def _simple_access(access: Mapping[str, object]) -> AccessForm | None:
    require, contact = access.get("require"), access.get("contact", "")
    rules_only = access.keys() <= {"require", "contact"} and isinstance(contact, str)
    if (
        not rules_only
        or not isinstance(require, list)
        or len(require) != 1
        or not isinstance(require[0], dict)
    ):
        return None
    rule = require[0]
    endings = _texts(rule.get("ends_with"))
    if endings and _is_email_rule(rule, "ends_with"):
        verified = "verified_by" in rule
        return AccessForm(WhoMayIn.EMAIL, endings=" ".join(endings), verified=verified, contact=str(contact))
    contained = _contained(rule)
    if contained is None:
        return None
    claim, values = contained
    return AccessForm(WhoMayIn.CLAIM, claim=claim, values="\n".join(values), contact=str(contact))


def access_value(form: AccessForm) -> object:
    """Return the value of `access`; None: the key is not needed. Not for `other`."""
    rule: dict[str, object]
    if form.who is WhoMayIn.UNSTATED:
        return None
    if form.who is WhoMayIn.ANYONE:
        return WhoMayIn.ANYONE.value
    if form.who is WhoMayIn.EMAIL:
        endings = [_ending(one) for one in _SPACES.split(form.endings) if one]
        rule = {"claim": _EMAIL, "ends_with": _one_or_all(endings), **_verified(form.verified)}
    else:
        rule = _contains_rule(form.claim, form.values)
    return {"require": [rule], **({"contact": form.contact} if form.contact else {})}


def _ending(text: str) -> str:
    """`example.com` is what many type for `@example.com`."""
    return text if text[0] in "@./" else f"@{text}"


# --- admins


def admins_form(admins: object) -> AdminsForm:
    """Return the form for the value of `admins` in a content; None: it has none."""
    form = AdminsForm()
    for rule in admins if isinstance(admins, list) else [admins] if admins is not None else []:
        found = _with_rule(form, rule) if isinstance(rule, dict) else None
        if found is None:
            return AdminsForm(yaml=entry("admins", admins))
        form = found
    return form


def _with_rule(form: AdminsForm, rule: Mapping[str, object]) -> AdminsForm | None:
    """The form with one more rule; None if it has no place for it."""
    emails = _texts(rule.get("equals")) or _texts(rule.get("one_of"))
    is_email = _is_email_rule(rule, "equals") or _is_email_rule(rule, "one_of")
    if emails and is_email and not form.emails:
        return AdminsForm("\n".join(emails), "verified_by" in rule, form.claim, form.values)
    contained = _contained(rule)
    if contained is None or form.claim:
        return None
    return AdminsForm(form.emails, form.verified, contained[0], "\n".join(contained[1]))


def admins_value(form: AdminsForm) -> object:
    """Return the value of `admins`; None: there are none."""
    rules: list[dict[str, object]] = []
    emails = [one for one in _SPACES.split(form.emails) if one]
    if emails:
        comparison = "equals" if len(emails) == 1 else "one_of"
        rules.append({"claim": _EMAIL, comparison: _one_or_all(emails), **_verified(form.verified)})
    if form.claim or _lines(form.values):
        rules.append(_contains_rule(form.claim, form.values))
    return rules or None


def with_admin(admins: object, rule: Mapping[str, object]) -> object:
    """Return the value of `admins` with one more rule, in such a way that the form still shows it if it can.

    Parameters: admins, the value in a content, None for none; rule, as `admin_rule` makes it.
    """
    form, emails = admins_form(admins), _texts(rule.get("equals"))
    if not form.yaml and form.verified and emails and rule.keys() == {"claim", "equals", "verified_by"}:
        return admins_value(replace(form, emails=f"{form.emails}\n{emails[0]}"))
    return [*(admins if isinstance(admins, list) else [admins] if admins is not None else []), dict(rule)]


def admin_rule(claims: Mapping[str, object], provider: str, *, several: bool) -> dict[str, object]:
    """Return a rule that only the account with these claims meets.

    By its e-mail address if the provider states that it is verified, else by its subject, which is unique at
    one provider only (OpenID Connect Core 1.0, section 2). Parameters: provider, the id of the account's;
    several, whether the tenant has further ones, which must not state the same address for somebody else.
    """
    email = claims.get(_EMAIL)
    if claims.get(_VERIFIED) is True and isinstance(email, str) and _ADDRESS.fullmatch(email):
        rule: dict[str, object] = {"claim": _EMAIL, "equals": email, "verified_by": _VERIFIED}
        return {**rule, "provider": provider} if several else rule
    return {"claim": "sub", "equals": claims["sub"], "provider": provider}


def not_emails(typed: str) -> list[str]:
    """Return what was typed as e-mail addresses and is none. Parameters: typed, with spaces between them."""
    return [one for one in _SPACES.split(typed) if one and not _ADDRESS.fullmatch(one)]


# --- rules


def _is_email_rule(rule: Mapping[str, object], comparison: str) -> bool:
    plain = rule.keys() == {"claim", comparison}
    verified = rule.keys() == {"claim", comparison, "verified_by"} and rule["verified_by"] == _VERIFIED
    return rule.get("claim") == _EMAIL and (plain or verified)


def _verified(verified: bool) -> dict[str, object]:
    return {"verified_by": _VERIFIED} if verified else {}


def _contained(rule: Mapping[str, object]) -> tuple[str, list[str]] | None:
    """The claim of a rule with `contains` or `contains_any`, and the values; None for any other rule."""
    claim, comparisons = _claim_text(rule.get("claim")), rule.keys() - {"claim"}
    if claim is None or len(comparisons) != 1 or not comparisons <= {"contains", "contains_any"}:
        return None
    values = _texts(rule[next(iter(comparisons))])
    return (claim, values) if values else None


def _contains_rule(claim: str, values: str) -> dict[str, object]:
    found = _lines(values)
    path: object = claim if _DOTTED.fullmatch(claim) else [claim]
    if len(found) == 1:
        return {"claim": path, "contains": found[0]}
    return {"claim": path, "contains_any": found}


def _claim_text(claim: object) -> str | None:
    if isinstance(claim, str):
        return claim
    if isinstance(claim, list) and len(claim) == 1 and isinstance(claim[0], str):
        return None if _DOTTED.fullmatch(claim[0]) and "." in claim[0] else claim[0]
    return None


def _texts(value: object) -> list[str]:
    """A text, or a list of texts of one line, as a list; empty for anything else."""
    found = value if isinstance(value, list) else [value]
    plain = [one for one in found if isinstance(one, str) and one == one.strip() and "\n" not in one]
    return plain if len(plain) == len(found) else []


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _one_or_all(found: Sequence[str]) -> object:
    return found[0] if len(found) == 1 else list(found)


def rule_changes(
    now_access: AccessForm, access: AccessForm | None, now_admins: AdminsForm, admins: AdminsForm | None
) -> dict[Keys, object]:
    """Return the changes of the rules that were typed. None: they are left alone."""
    made: dict[Keys, object] = {}
    if access is not None and access != now_access:
        made["access",] = access_value(access)
    if admins is not None and admins != now_admins:
        made["admins",] = admins_value(admins)
    return made
