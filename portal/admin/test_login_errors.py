"""Why a test login is refused."""

from __future__ import annotations

from portal.errors import PortalError
from portal.sentences import message


class TestLoginRefused(PortalError):
    """A test login cannot begin, or what came back is not accepted; `explanation` says why."""

    __test__ = False  # not a class of tests
    status = 409
    code = "test_login_refused"
    title = "This test login is not possible"
    advice = "Nothing was changed. Open the draft and test it from there."


class TooManyTests(TestLoginRefused):
    """A tenant begins more test logins than a person would."""

    status = 429
    code = "too_many_test_logins"
    title = "Too many test logins"
    advice = "Wait a few seconds, then test again."


def changed_meanwhile() -> TestLoginRefused:
    """The test login no longer belongs to what there is."""
    return refused(message("The draft, or what is live, has changed since this test login began."))


def refused(explanation: str) -> TestLoginRefused:
    """A refusal with a sentence for who tests."""
    return TestLoginRefused(explanation, explanation=explanation)
