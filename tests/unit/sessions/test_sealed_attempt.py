"""The sealed part of a login attempt, also in the format of the previous version."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portal.oidc.api_target import ApiTarget
from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown
from portal.oidc.interaction import Interaction
from portal.oidc.step_up import StepUp
from portal.secret import Secret
from portal.sessions.sealed_attempt import SealedAttempt

VERIFIER = Secret("v" * 43)
KEY = DpopKey.generate()
ASKED = Interaction(1_800_000_000.5, 300, select_account=True)
STEP_UP = StepUp(("mfa", "gold"), 5, ("delete:orders",))


@pytest.mark.parametrize(
    "asked",
    [
        None,
        Interaction(1_800_000_000.5),
        Interaction(1_800_000_000.5, 0, login=True),
        ASKED,
        replace(ASKED, step_up=STEP_UP),
        replace(ASKED, step_up=StepUp(max_age=0)),
    ],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_an_attempt_is_decoded_as_it_was_encoded(asked: Interaction | None, key: DpopKey | None) -> None:
    sealed = SealedAttempt(VERIFIER, key, False, "ada", asked, {"code": ["c"]})
    assert SealedAttempt.decode(sealed.encode()) == sealed
    assert SealedAttempt.decode(sealed.encode()).code_verifier == VERIFIER


@pytest.mark.parametrize(
    "attempt",
    [
        SealedAttempt(VERIFIER, None, False, None, ASKED, target=ApiTarget("billing", "https://b.example")),
        SealedAttempt(VERIFIER, None, False, None, replace(ASKED, step_up=STEP_UP)),
    ],
)
def test_L1_version_0_2_refuses_an_attempt_that_it_would_finish_as_an_ordinary_login(
    attempt: SealedAttempt,
) -> None:
    text = attempt.encode()
    assert SealedAttempt.decode(text) == attempt
    with pytest.raises(TypeError):
        asked_of_version_0_2(**json.loads(text)["asked"])  # which it reports as AttemptUnknown


def asked_of_version_0_2(
    requested_at: float, max_age: int | None = None, login: bool = False, select_account: bool = False
) -> None:
    """The members that version 0.2 knows, as it decodes them. Never update this function."""


def list_of_the_previous_version(attempt: SealedAttempt) -> str:
    """The format of the previous version. Never update this function."""
    own = attempt.code_verifier.reveal()
    if attempt.dpop_key is not None:
        own = json.dumps({"code_verifier": own, "dpop_key": attempt.dpop_key.private_jwk()})
    parts: list[object] = [own, attempt.silent, attempt.login_hint, attempt.response]
    if attempt.asked is not None:
        asked = attempt.asked
        parts.append([asked.requested_at, asked.max_age, asked.login, asked.select_account])
    return json.dumps(parts)


@pytest.mark.parametrize(
    "attempt",
    [
        SealedAttempt(VERIFIER, None, True, None, None),
        SealedAttempt(VERIFIER, None, False, "ada", ASKED),
        SealedAttempt(VERIFIER, KEY, False, None, ASKED, {"code": ["c"], "state": ["s"]}),
    ],
)
def test_an_attempt_of_the_previous_version_is_decoded(attempt: SealedAttempt) -> None:
    assert SealedAttempt.decode(list_of_the_previous_version(attempt)) == attempt


@pytest.mark.parametrize("key", [None, KEY])
def test_the_previous_version_rejects_an_attempt_of_this_version(key: DpopKey | None) -> None:
    text = SealedAttempt(VERIFIER, key, False, "ada", ASKED, {"code": ["c"]}).encode()
    _own, _silent, _login_hint, _response, *asked = json.loads(text)  # as that version decodes it
    with pytest.raises(TypeError):
        interaction_of_the_previous_version(*asked[0])  # which it reports as AttemptUnknown


def interaction_of_the_previous_version(
    requested_at: float, max_age: int | None = None, login: bool = False, select_account: bool = False
) -> None:
    """The arguments of `Interaction` in that version. Never update this function."""


def test_a_step_up_for_the_token_of_the_login_is_stored_as_by_the_version_before() -> None:
    of_login = SealedAttempt(VERIFIER, None, False, None, replace(ASKED, step_up=STEP_UP))
    assert "api_key" not in of_login.encode()
    of_api = replace(of_login, asked=replace(ASKED, step_up=replace(STEP_UP, api_key="k" * 32)))
    assert SealedAttempt.decode(of_api.encode()) == of_api


def test_an_attempt_without_a_step_up_is_stored_as_by_the_version_before() -> None:
    members = json.loads(SealedAttempt(VERIFIER, None, False, "ada", ASKED).encode())["asked"]
    assert members == {
        "requested_at": 1_800_000_000.5,
        "max_age": 300,
        "login": False,
        "select_account": True,
    }


MEMBERS = json.loads(SealedAttempt(VERIFIER, None, True, None, None).encode())


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "5", '"text"', '["v", true, null]', '["v", true, null, null, [1, 2, 3, 4, 5, 6]]'),
        '["{", true, null, null]',
        json.dumps({**MEMBERS, "dpop_key": "k"}),
        json.dumps(
            {**json.loads(SealedAttempt(VERIFIER, None, True, None, None).encode()), "code_verifier": 5}
        ),
        json.dumps(
            {**json.loads(SealedAttempt(VERIFIER, None, True, None, None).encode()), "asked": {"a": 1}}
        ),
        json.dumps({**MEMBERS, "asked": {"requested_at": 1.0, "step_up": {"scope": "text"}}}),
        json.dumps(
            {
                **MEMBERS,
                "asked": {"requested_at": 1.0, "step_up": {"acr_values": [5], "max_age": None, "scope": []}},
            }
        ),
    ],
)
def test_an_attempt_in_another_format_is_unknown(text: str) -> None:
    with pytest.raises(AttemptUnknown):
        SealedAttempt.decode(text)
