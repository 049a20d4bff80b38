"""The encrypted part of a login attempt and its JSON format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown
from portal.oidc.interaction import Interaction
from portal.secret import Secret

Response = Mapping[str, Sequence[str]]
"""The parameters of an authorization response, each with all its values."""


_ASKED = tuple(field.name for field in fields(Interaction))
_compact_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class SealedTest:
    """What an attempt tests, if it is one of `portal.admin.test_logins`."""

    actor: str
    """Who tests, an `Actor` as JSON."""
    fingerprint: str
    """Of the provider of the draft."""


@dataclass(frozen=True, slots=True)
class SealedAttempt:
    """The secrets of a login attempt and, once posted, its response."""

    code_verifier: Secret
    dpop_key: DpopKey | None
    silent: bool
    login_hint: str | None
    asked: Interaction | None
    """None: an earlier version of the portal stored the attempt without it."""
    response: Response | None = field(default=None, repr=False)
    """A posted response that waits for the browser; None before it arrives."""
    test: SealedTest | None = None
    """None: an attempt to sign in."""

    def encode(self) -> str:
        """Encode as JSON. The result contains secrets in plaintext: seal it, never store or log it."""
        members: dict[str, object] = {
            "code_verifier": self.code_verifier.reveal(),
            "dpop_key": None if self.dpop_key is None else self.dpop_key.private_jwk(),
            "silent": self.silent,
            "login_hint": self.login_hint,
            "asked": None if self.asked is None else {name: getattr(self.asked, name) for name in _ASKED},
            "response": self.response,
        }
        if self.test is not None:
            members["test"] = [self.test.actor, self.test.fingerprint]
        return _compact_json(members)

    @classmethod
    def decode(cls, text: str) -> SealedAttempt:
        """Decode the output of `encode`, also of the previous version of the portal.

        Raises: AttemptUnknown.
        """
        try:
            members = json.loads(text)
            if isinstance(members, list):
                members = _named(*members)
            dpop_key, asked, test = members["dpop_key"], members["asked"], members.get("test")
            return cls(
                code_verifier=Secret(_text(members["code_verifier"])),
                dpop_key=None if dpop_key is None else DpopKey.from_jwk(dpop_key),
                silent=bool(members["silent"]),
                login_hint=members["login_hint"],
                asked=None if asked is None else Interaction(**asked),
                response=members["response"],
                test=None if test is None else SealedTest(*map(_text, test)),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise AttemptUnknown("another version of the portal stored the attempt") from error


def _named(
    verifier_or_keys: str,
    silent: bool,
    login_hint: str | None,
    response: Response | None,
    asked: Sequence[object] | None = None,
) -> dict[str, object]:
    """The members of an attempt that the previous version stored as a list.

    Its first item is the code verifier, or a JSON text of an object with verifier and key.
    """
    # RFC 7636 4.1: a code verifier has no "{"
    secrets = (
        json.loads(verifier_or_keys)
        if verifier_or_keys.startswith("{")
        else {"code_verifier": verifier_or_keys, "dpop_key": None}
    )
    names = ("requested_at", "max_age", "login", "select_account")
    return {
        **secrets,
        "silent": silent,
        "login_hint": login_hint,
        "asked": None if asked is None else dict(zip(names, asked, strict=True)),
        "response": response,
    }


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
