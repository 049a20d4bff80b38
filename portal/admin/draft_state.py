"""What the portal keeps about a draft beside its content: test logins, and the proposal to publish it.

A test login is stored sealed: its claims are personal data, and the fingerprint of its provider is made of
secrets too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from portal.admin.actors import Actor, actor_of
from portal.errors import PortalError, VaultError
from portal.secret import Secret
from portal.stores.tenant_records import Draft
from portal.tenancy.model import Tenant

MAX_STATE_CHARACTERS = 60_000
"""The database keeps a little more."""
_NOT_FOR_SIGN_IN = frozenset({"label"})
"""What of a provider decides nothing of a sign-in."""


class TestLoginTooLarge(PortalError):
    """The claims of a test login cannot be kept with the draft."""

    status = 422
    code = "test_login_too_large"
    title = "This account has too many claims"
    advice = "Test with an account that is in fewer groups, or let the provider send fewer claims."


@dataclass(frozen=True, slots=True)
class TestResult:
    """A test login at a provider of a draft."""

    provider: str
    """Its id in the draft."""
    registration: str
    """The `sign_in_fingerprint` of what was tested."""
    at: float
    """Seconds, UTC."""
    actor: str
    """Who tested: an `Actor` as JSON."""
    claims: Mapping[str, object] = field(repr=False)
    subject: str = field(repr=False)
    issuer: str
    scopes: tuple[str, ...] = ()
    """Those that the provider granted."""
    refresh_token: bool = False
    """Whether the provider issued one."""
    warnings: tuple[str, ...] = ()
    """What works but should be looked at, as sentences."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Somebody who may not publish a draft asks for it."""

    actor: Actor
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class DraftState:
    """The test logins of a draft by the id of the provider, and its proposal."""

    tests: Mapping[str, TestResult] = field(default_factory=dict)
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True)
class StoredState:
    """The state of a draft as the database has it: `Draft.test`, as JSON."""

    edited: int | None = None
    """The version of the draft when its content was changed last; None: its present one.

    `Draft.version` changes with every test login too, which takes nothing from who is editing.
    """
    tests: Mapping[str, str] = field(default_factory=dict)
    """Sealed, by the id of the provider."""
    proposal: Proposal | None = None

    def text(self) -> str:
        """The JSON."""
        proposal = self.proposal and {**asdict(self.proposal), "actor": self.proposal.actor.as_json()}
        return json.dumps({"edited": self.edited, "tests": dict(self.tests), "proposal": proposal})

    def with_test(self, test: TestResult, seal: Callable[[str], str]) -> StoredState:
        """Add a test, in place of an earlier one of its provider and of others that there is no room for.

        Raises: TestLoginTooLarge, VaultError.
        """
        sealed = seal(json.dumps({**_fields(test), "claims": dict(test.claims)}))
        kept = {id_: text for id_, text in self.tests.items() if id_ != test.provider}
        while (
            len(added := replace(self, tests={**kept, test.provider: sealed}).text()) > MAX_STATE_CHARACTERS
        ):
            if not kept:
                raise TestLoginTooLarge(f"its claims need {len(added)} characters")
            kept.pop(next(iter(kept)))
        return replace(self, tests={**kept, test.provider: sealed})

    def opened(self, open_sealed: Callable[[str], str]) -> DraftState:
        """Open the test logins; one that was sealed with a lost key or by a later version does not count."""
        found = {id_: _test(sealed, open_sealed) for id_, sealed in self.tests.items()}
        return DraftState({id_: test for id_, test in found.items() if test is not None}, self.proposal)


def stored_state(draft: Draft) -> StoredState:
    """The state of a stored draft; one that this version cannot read is empty."""
    try:
        found = json.loads(draft.test) if draft.test else {}
        return StoredState(
            edited=int(found["edited"]) if found.get("edited") is not None else None,
            tests={str(id_): str(sealed) for id_, sealed in found.get("tests", {}).items()},
            proposal=_proposal(found.get("proposal")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return StoredState()


def edited_version(draft: Draft | None) -> int | None:
    """The version of a draft for who edits it: it changes with the content only. None without a draft."""
    if draft is None:
        return None
    return stored_state(draft).edited or draft.version


def sign_in_fingerprint(tenant: Tenant, provider: str) -> str:
    """A fingerprint of all that decides a sign-in at a provider of a tenant, also secrets and redirect URI.

    Not for storage: a weak secret could be found by trying. Raises KeyError for a provider that is not there.
    """
    one = tenant.providers[provider]
    own_address = len(tenant.providers) > 1  # docs/decisions/018
    values = {name: value for name, value in _fields(one).items() if name not in _NOT_FOR_SIGN_IN}
    text = json.dumps([own_address, values], default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def state_sealed_for(slug: str) -> str:
    """What the vault binds the test logins of a draft to."""
    return f"draft test:{slug}"


def _proposal(found: Mapping[str, Any] | None) -> Proposal | None:
    if not found:
        return None
    return Proposal(actor_of(found["actor"]), str(found["reason"]), float(found["at"]))


def _test(sealed: str, open_sealed: Callable[[str], str]) -> TestResult | None:
    try:
        found = json.loads(open_sealed(sealed))
        found |= {"scopes": tuple(found["scopes"]), "warnings": tuple(found["warnings"])}
        return TestResult(**found)
    except (VaultError, ValueError, TypeError, KeyError):
        return None


def _plain(value: object) -> Any:
    """What of a value is compared, for JSON. Raises TypeError for a value that has no stable form."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return _fields(value)
    raise TypeError(f"a provider has no fingerprint with {type(value).__name__}")


def _fields(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in fields(value) if one.compare}
