"""Each warning is logged once per registration, regardless of the number of logins."""

from __future__ import annotations

from dataclasses import replace

from structlog.testing import capture_logs

from portal.oidc.provider import Authentication, Provider, TokenSet
from portal.secret import Secret
from portal.sessions.login_warnings import LoginWarnings

PROVIDER = Provider(tenant="acme", id="default", issuer="https://id.example", client_id="portal")
TOKENS = TokenSet(Secret("access"), 0.0)


def login(**claims: object) -> Authentication:
    return Authentication(PROVIDER.issuer, "user", None, claims, TOKENS)


def events(warnings: LoginWarnings, *logins: tuple[Provider, Authentication]) -> list[str]:
    with capture_logs() as lines:
        for provider, authentication in logins:
            warnings.check(provider, authentication)
    return [line["event"] for line in lines]


def test_each_warning_is_logged_once_per_registration() -> None:
    warnings = LoginWarnings()
    another = replace(PROVIDER, client_id="another")
    both = login(hasgroups=True)
    assert events(warnings, (PROVIDER, login())) == ["refresh_token_missing"]
    assert events(warnings, (PROVIDER, both), (PROVIDER, both)) == ["claims_held_elsewhere"]
    assert events(warnings, (another, both)) == ["refresh_token_missing", "claims_held_elsewhere"]
    assert events(warnings, (PROVIDER, both), (another, both)) == []


def test_a_missing_refresh_token_is_logged_only_if_it_was_requested() -> None:
    given = replace(login(), tokens=replace(TOKENS, refresh_token=Secret("refresh")))
    assert events(LoginWarnings(), (PROVIDER, given)) == []
    assert events(LoginWarnings(), (replace(PROVIDER, refresh_tokens=False), login())) == []


def test_claim_names_in_the_log_are_cleaned_and_limited() -> None:
    names = {f"\u202e\n{'x' * 5_000}{number}": "src" for number in range(1_000)}
    with capture_logs() as lines:
        LoginWarnings().check(replace(PROVIDER, refresh_tokens=False), login(_claim_names=names))
    (line,) = lines
    assert len(line["detail"]) < 1_500
    assert line["detail"].isprintable()
    assert line["detail"].count("x" * 99) == 10
