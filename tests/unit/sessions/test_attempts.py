"""After which errors of the provider a login attempt is repeated, and with which options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.interaction import Interaction
from portal.oidc.step_up import StepUp
from portal.secret import Secret
from portal.sessions.attempts import OpenAttempt
from tests.kit.samples import START, sample_provider

SILENT = (True, Interaction(START))
SELECTION = (False, Interaction(START, select_account=True))
PLAIN = (False, Interaction(START))
STEP_UP = StepUp(("mfa",), 5, ("delete:orders",))
SILENT_STEP_UP = (True, Interaction(START, step_up=STEP_UP))
SELECTION_STEP_UP = (False, Interaction(START, select_account=True, step_up=STEP_UP))
EARLIER_VERSION = (False, None)
INTERACTIVE = AuthorizationOptions(login_hint="ada", interactive=True)
WITHOUT_SELECTION = AuthorizationOptions(login_hint="ada", interactive=True, select_account=False)


@pytest.mark.parametrize(
    ("asked", "error", "options"),
    [
        (SILENT, "login_required", INTERACTIVE),
        (SILENT, "consent_required", INTERACTIVE),
        (SILENT, "access_denied", None),
        (SELECTION, "unmet_authentication_requirements", WITHOUT_SELECTION),
        (SELECTION, "login_required", None),
        (PLAIN, "invalid_request", None),
        (PLAIN, "login_required", None),
        (SILENT_STEP_UP, "login_required", replace(INTERACTIVE, step_up=STEP_UP)),
        (SELECTION_STEP_UP, "access_denied", None),
        (
            SELECTION_STEP_UP,
            "unmet_authentication_requirements",
            replace(WITHOUT_SELECTION, step_up=STEP_UP),
        ),
        (EARLIER_VERSION, "invalid_request", None),
    ],
)
def test_an_attempt_is_repeated_once_without_the_option_that_was_refused(
    asked: tuple[bool, Interaction | None], error: str, options: AuthorizationOptions | None
) -> None:
    silent, interaction = asked
    attempt = OpenAttempt(
        provider=sample_provider(),
        redirect_uri="https://portal.example/t/acme/callback",
        return_to="/",
        nonce="n",
        code_verifier=Secret("v"),
        dpop_key=None,
        silent=silent,
        login_hint="ada",
        asked=interaction,
    )
    assert attempt.retry(error) == options
