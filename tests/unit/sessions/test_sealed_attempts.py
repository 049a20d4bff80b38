"""What a login attempt keeps sealed, also as an earlier portal wrote it."""

from __future__ import annotations

import json

import pytest

from portal.oidc.errors import AttemptUnknown
from portal.oidc.interaction import Interaction
from portal.secret import Secret
from portal.sessions.attempts import _Sealed


@pytest.mark.parametrize(
    "asked",
    [
        None,
        Interaction(1_800_000_000.5),
        Interaction(1_800_000_000.5, 0, login=True),
        Interaction(1_800_000_000.5, 300, select_account=True),
    ],
)
def test_an_attempt_keeps_what_was_asked_of_the_provider(asked: Interaction | None) -> None:
    sealed = _Sealed(Secret("v" * 43), None, False, "ada", {"code": ["c"]}, asked)
    assert _Sealed.decode(sealed.encode()) == sealed


def test_an_attempt_of_an_earlier_portal_is_read() -> None:
    opened = _Sealed.decode(json.dumps(["v" * 43, True, None, None]))
    assert opened == _Sealed(Secret("v" * 43), None, True, None)
    assert opened.asked is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '["v", true, null]', '["v", true, null, null, [1, 2, 3, 4, 5, 6]]']
)
def test_an_attempt_of_another_form_is_unknown(text: str) -> None:
    with pytest.raises(AttemptUnknown):
        _Sealed.decode(text)
