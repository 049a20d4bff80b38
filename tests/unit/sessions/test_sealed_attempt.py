"""The sealed part of a login attempt, also in the format of the previous version."""

from __future__ import annotations

import json

import pytest

from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown
from portal.oidc.interaction import Interaction
from portal.secret import Secret
from portal.sessions.sealed_attempt import SealedAttempt

VERIFIER = Secret("v" * 43)
KEY = DpopKey.generate()
ASKED = Interaction(1_800_000_000.5, 300, select_account=True)


@pytest.mark.parametrize(
    "asked",
    [None, Interaction(1_800_000_000.5), Interaction(1_800_000_000.5, 0, login=True), ASKED],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_an_attempt_is_decoded_as_it_was_encoded(asked: Interaction | None, key: DpopKey | None) -> None:
    sealed = SealedAttempt(VERIFIER, key, False, "ada", asked, {"code": ["c"]})
    assert SealedAttempt.decode(sealed.encode()) == sealed
    assert SealedAttempt.decode(sealed.encode()).code_verifier == VERIFIER


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
        Interaction(*asked[0])  # which it reports as AttemptUnknown


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
    ],
)
def test_an_attempt_in_another_format_is_unknown(text: str) -> None:
    with pytest.raises(AttemptUnknown):
        SealedAttempt.decode(text)
