from __future__ import annotations

import pytest

from portal.oidc.interaction import Interaction
from tests.unit.oidc.signing import NOW


@pytest.mark.parametrize(
    ("sent", "interaction"),
    [
        ([], Interaction(NOW)),
        ([("max_age", "0")], Interaction(NOW, max_age=0)),
        ([("max_age", "300"), ("prompt", "login")], Interaction(NOW, max_age=300, login=True)),
        ([("prompt", "select_account")], Interaction(NOW, select_account=True)),
        ([("prompt", "select_account login")], Interaction(NOW, login=True, select_account=True)),
        ([("prompt", "none"), ("login_hint", "login")], Interaction(NOW)),
    ],
)
def test_the_interaction_is_read_from_max_age_and_prompt(
    sent: list[tuple[str, str]], interaction: Interaction
) -> None:
    assert Interaction.of(sent, requested_at=NOW) == interaction
