"""Warnings of `portal tenant check`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.tenancy.loading import read_tenant
from tests.unit.outbound.certificates import issue
from tests.unit.tenancy.files import ACME, ENVIRON, write

WITHOUT_SECRET = ACME.replace("  secret: ${ACME_SECRET}\n", "")
BY_CERTIFICATE = WITHOUT_SECRET + (
    "  auth: tls_client_auth\n  certificate: file:acme.pem\n  private_key: file:acme.key\n"
)
LONG = {"ACME_SECRET": "0123456789abcdef0123456789abcdef"}
ISSUERS = {
    "okta": "https://acme.okta.com",
    "entra": "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
    "google": "https://accounts.google.com",
    "cognito": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_abc",
    "gitlab": "https://gitlab.com",
    "auth0": "https://acme.eu.auth0.com/",
    "keycloak": "https://login.acme.example/realms/staff",
    "zitadel": "https://login.acme.example",
    "generic": "https://login.acme.example",
}
TITLES = {
    "entra": "Microsoft Entra ID",
    "google": "Google",
    "cognito": "Amazon Cognito",
    "gitlab": "GitLab",
}


def warnings(folder: Path, text: str) -> list[str]:
    """The warnings for a tenant file, with paths relative to the folder."""
    found = read_tenant(write(folder, text), environ=LONG).warnings
    return [str(warning).replace(f"{folder}/", "") for warning in found]


BOUND = "api: {base_url: 'https://api.example', mtls: true}\n"


def write_pair(folder: Path, *, days: float = 365, mode: int = 0o600) -> None:
    issued = issue("portal", days=days)
    write(folder, issued.chain, "acme.pem")
    write(folder, issued.private_key(), "acme.key").chmod(mode)


@pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_jwt"])
@pytest.mark.parametrize("preset", ISSUERS)
def test_assertions_cause_a_warning_if_they_are_not_known_to_work(
    tmp_path: Path, preset: str, method: str
) -> None:
    text = f"name: Acme\naccess: anyone\npreset: {preset}\nissuer: {ISSUERS[preset]}\nclient:\n  id: portal\n"
    text += "  secret: ${ACME_SECRET}\n" if method == "client_secret_jwt" else ""
    expected = f"auth: {method} is not known to work with {TITLES.get(preset)}; use a client secret"
    if preset == "entra":
        expected += ", or private_key_jwt with signing_key: certificate"
    place = "acme.yaml:8:9" if method == "client_secret_jwt" else "acme.yaml:7:9"
    assert warnings(tmp_path, f"{text}  auth: {method}\n") == (
        [f"{place}: {expected}"] if preset in TITLES else []
    )


def test_entra_accepts_assertions_of_an_uploaded_certificate(tmp_path: Path) -> None:
    write_pair(tmp_path)
    text = (
        f"name: Acme\npreset: entra\nissuer: {ISSUERS['entra']}\nclient:\n  id: portal\n"
        "  auth: private_key_jwt\n  signing_key: certificate\n"
        "  certificate: file:acme.pem\n  private_key: file:acme.key\n"
    )
    assert warnings(tmp_path, text) == []


@pytest.mark.parametrize("line", ["signing_alg: RS256", "signing_key: shared", "assertion_audience: issuer"])
def test_an_assertion_audience_other_than_the_presets_causes_a_warning(tmp_path: Path, line: str) -> None:
    text = f"name: Acme\npreset: okta\ndomain: acme.okta.com\nclient:\n  id: portal\n  {line}\n"
    assert warnings(tmp_path, f"{text}  auth: private_key_jwt\n") == [
        "acme.yaml:7:9: Okta requires assertion_audience: endpoint; with private_key_jwt this needs "
        "signing_key: own and signing_alg: ES256 or EdDSA"
    ]


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (-2, "the certificate expired on {day}; providers refuse it, so replace it"),
        (59, "the certificate expires on {day}; replace it before that date"),
        (61, None),
    ],
)
def test_a_certificate_that_has_expired_or_expires_soon_causes_a_warning(
    tmp_path: Path, days: int, message: str | None
) -> None:
    write_pair(tmp_path, days=days)
    day = (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%d")
    expected = [] if message is None else [f"acme.yaml:6:16: {message.format(day=day)}"]
    assert warnings(tmp_path, BY_CERTIFICATE) == expected


@pytest.mark.parametrize(
    ("more", "warned"),
    [("", True), ("api: {base_url: 'https://api.example'}\n", True), (BOUND, False)],
)
def test_an_unused_certificate_causes_a_warning(tmp_path: Path, more: str, warned: bool) -> None:
    write_pair(tmp_path)
    pair = "  certificate: file:acme.pem\n  private_key: file:acme.key\n"
    found = warnings(tmp_path, f"{ACME}{pair}{more}")
    message = "client.certificate has no effect with auth: client_secret_basic without api.mtls"
    assert found == ([f"acme.yaml:6:16: {message}"] if warned else [])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_private_key_that_others_can_read_causes_a_warning_with_a_remedy(tmp_path: Path, mode: int) -> None:
    write_pair(tmp_path, mode=mode)
    assert warnings(tmp_path, BY_CERTIFICATE) == [
        "acme.yaml:7:16: other users can access acme.key; run: chmod 600 acme.key"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ACME + "  signing_alg: ES256\n",
            "acme.yaml:6:16: client.signing_alg has no effect without auth: private_key_jwt or "
            "request_object: signed",
        ),
        (ACME + "  signing_alg: ES256\nrequest_object: signed\n", None),
        (
            ACME + "  signing_key: own\n",
            "acme.yaml:6:16: client.signing_key has no effect without auth: private_key_jwt or "
            "request_object: signed",
        ),
        (ACME + "  signing_key: own\nrequest_object: signed\n", None),
        (
            ACME + "response_algs: [ES256]\n",
            "acme.yaml:6:16: response_algs has no effect without response_mode: query.jwt, form_post.jwt "
            "or jwt",
        ),
        (ACME + "response_algs: [ES256]\nresponse_mode: jwt\n", None),
        (
            ACME + "  auth: private_key_jwt\n",
            "acme.yaml:5:11: client.secret has no effect with auth: private_key_jwt; remove it",
        ),
        (
            ACME + "  auth: private_key_jwt\nresponse_algs: [HS256]\n",
            "acme.yaml:5:11: client.secret has no effect with auth: private_key_jwt; remove it",
        ),
        (ACME + "  auth: private_key_jwt\nid_token_algs: [HS256]\n", None),
        (ACME + "  auth: private_key_jwt\nresponse_algs: [HS256]\nresponse_mode: jwt\n", None),
        (ACME + "  auth: private_key_jwt\nuserinfo: true\nuserinfo_algs: [HS256]\n", None),
    ],
)
def test_a_key_without_effect_causes_a_warning(tmp_path: Path, text: str, message: str | None) -> None:
    found = warnings(tmp_path, text)
    assert found == [] if message is None else message in found


def test_a_warning_has_its_position_in_its_provider(tmp_path: Path) -> None:
    text = (
        "name: Acme\nproviders:\n"
        "  staff: {issuer: https://a.example, client: {id: a, auth: none}}\n"
        "  guests: {issuer: https://b.example, client: {id: b, auth: none, signing_alg: ES256}}\n"
    )
    (warning,) = warnings(tmp_path, text)
    assert warning.startswith("acme.yaml:4:80: client.signing_alg has no effect")


def test_a_plain_file_causes_no_warnings(tmp_path: Path) -> None:
    assert read_tenant(write(tmp_path), environ=ENVIRON).warnings == ()
