"""Accounts that have more rights than others: the operators of the portal, and the admins of a tenant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.access.rules import Claims, ReadValues, Rule, first_refusal


@dataclass(frozen=True, slots=True)
class AccountRule:
    """Accounts whose claims meet a rule. `provider`: only those of this provider; None: of any."""

    rule: Rule
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """Operators of the portal: accounts of a tenant, by its slug."""

    tenant: str
    account: AccountRule


def is_listed(accounts: Iterable[AccountRule], provider: str, claims: Claims) -> bool:
    """Whether an account meets one of these rules. Parameters: provider, its id; claims, of the account."""
    entries = ReadValues()
    return any(
        one.provider in (None, provider) and first_refusal((one.rule,), claims, entries) is None
        for one in accounts
    )
