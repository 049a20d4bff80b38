"""What a login attempt keeps where only the vault can read it, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown
from portal.oidc.interaction import Interaction
from portal.secret import Secret

Response = Mapping[str, Sequence[str]]
"""The parameters of an authorization response, each with all its values."""


@dataclass(frozen=True, slots=True)
class SealedAttempt:
    """What only the login that an attempt belongs to may know."""

    code_verifier: Secret
    dpop_key: DpopKey | None
    silent: bool
    login_hint: str | None
    asked: Interaction | None
    """None: the attempt was remembered by a portal that did not keep it."""
    response: Response | None = field(default=None, repr=False)
    """A posted response that waits for the browser; None before there is one."""

    def encode(self) -> str:
        """Write it as JSON. The result holds secrets in the clear: seal it, never store or log it."""
        members: dict[str, object] = {
            "code_verifier": self.code_verifier.reveal(),
            "dpop_key": None if self.dpop_key is None else self.dpop_key.private_jwk(),
            "silent": self.silent,
            "login_hint": self.login_hint,
            "asked": None if self.asked is None else asdict(self.asked),
            "response": self.response,
        }
        return json.dumps(members, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> SealedAttempt:
        """Read what `encode` wrote, in this version of the portal or the one before.

        Raises: AttemptUnknown.
        """
        try:
            members = json.loads(text)
            if isinstance(members, list):
                members = _named(*members)
            dpop_key, asked = members["dpop_key"], members["asked"]
            return cls(
                code_verifier=Secret(_text(members["code_verifier"])),
                dpop_key=None if dpop_key is None else DpopKey.from_jwk(dpop_key),
                silent=bool(members["silent"]),
                login_hint=members["login_hint"],
                asked=None if asked is None else Interaction(**asked),
                response=members["response"],
            )
        except (ValueError, TypeError, KeyError) as error:
            raise AttemptUnknown("the attempt was remembered by another version of the portal") from error


def _named(
    own: str,
    silent: bool,
    login_hint: str | None,
    response: Response | None,
    asked: Sequence[object] | None = None,
) -> dict[str, object]:
    """The members of an attempt that the version before wrote, as a list.

    Its first item is the verifier alone, or an object of verifier and key, once more as text.
    """
    # RFC 7636 4.1: no verifier begins so
    secrets = json.loads(own) if own.startswith("{") else {"code_verifier": own, "dpop_key": None}
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
        raise TypeError("not a text")
    return value
