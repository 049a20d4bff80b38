"""The encrypted part of a login attempt and its JSON format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from portal.oidc.api_target import ApiTarget
from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown
from portal.oidc.interaction import Interaction
from portal.oidc.step_up import StepUp
from portal.secret import Secret

Response = Mapping[str, Sequence[str]]
"""The parameters of an authorization response, each with all its values."""


_ASKED = ("requested_at", "max_age", "login", "select_account")
"""The members of an interaction that every version of the portal stores."""
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
    target: ApiTarget | None = None
    """The API whose access token the attempt adds to a login; such an attempt has `asked`."""
    ui_locales: str | None = None
    """The languages that the request named; None: none, or an earlier version stored the attempt."""

    def encode(self) -> str:
        """Encode as JSON. The result contains secrets in plaintext: seal it, never store or log it."""
        members: dict[str, object] = {
            "code_verifier": self.code_verifier.reveal(),
            "dpop_key": None if self.dpop_key is None else self.dpop_key.private_jwk(),
            "silent": self.silent,
            "login_hint": self.login_hint,
            "asked": None if self.asked is None else _asked(self.asked, self.target),
            "response": self.response,
        }
        if self.ui_locales is not None:
            members["ui_locales"] = self.ui_locales
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
            target = None if asked is None else asked.pop("target", None)
            return cls(
                code_verifier=Secret(_text(members["code_verifier"])),
                dpop_key=None if dpop_key is None else DpopKey.from_jwk(dpop_key),
                silent=bool(members["silent"]),
                login_hint=members["login_hint"],
                asked=None if asked is None else _interaction(**asked),
                response=members["response"],
                test=None if test is None else SealedTest(*map(_text, test)),
                target=_target(target),
                ui_locales=members.get("ui_locales"),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise AttemptUnknown("another version of the portal stored the attempt") from error


def _asked(interaction: Interaction, target: ApiTarget | None) -> dict[str, object]:
    """The members of an interaction, and `step_up` and `target` only where the attempt has them.

    Version 0.2 refuses members that it does not know. It must refuse these attempts: as ordinary logins they
    would ask less of the user, or give the default API the access token of another.
    """
    members: dict[str, object] = {name: getattr(interaction, name) for name in _ASKED}
    if interaction.step_up is not None:
        step_up = asdict(interaction.step_up)
        if not interaction.step_up.api_key:  # earlier versions refuse the member
            del step_up["api_key"]
        members["step_up"] = step_up
    if target is not None:
        members["target"] = [target.name, target.audience, target.resource, target.scopes]
    return members


def _interaction(*, step_up: Mapping[str, Any] | None = None, **members: Any) -> Interaction:
    return Interaction(**members, step_up=None if step_up is None else _step_up(**step_up))


def _step_up(*, acr_values: Any, max_age: Any, scope: Any, api_key: str = "") -> StepUp:
    return StepUp(tuple(map(_text, acr_values)), max_age, tuple(map(_text, scope)), _text(api_key))


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
    return {
        **secrets,
        "silent": silent,
        "login_hint": login_hint,
        "asked": None if asked is None else dict(zip(_ASKED, asked, strict=True)),
        "response": response,
    }


def _target(members: Sequence[Any] | None) -> ApiTarget | None:
    if members is None:
        return None
    name, audience, resource, scopes = members
    return ApiTarget(_text(name), audience, resource, tuple(map(_text, scopes)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
