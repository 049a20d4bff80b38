"""`client.secret` in its forms, and the notices before a credential expires."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.tenancy.loading import read_tenant
from portal.tenancy.model import Tenant
from portal.tenancy.secret_notices import secret_notices
from tests.unit.outbound.certificates import issue
from tests.unit.tenancy.files import ACME, problems, tenant, write

END = datetime(2027, 1, 31, tzinfo=UTC).timestamp()
DAY = 86_400.0
ENVIRON = {"ACME_SECRET": "one", "NEXT_SECRET": "two"}
BOTH = "\n  - {value: '${ACME_SECRET}', expires_at: 2027-01-31}\n  - {value: '${NEXT_SECRET}'}"


def with_secret(written: str) -> str:
    return ACME.replace("secret: ${ACME_SECRET}", f"secret: {written}")


def acme(folder: Path, written: str) -> Tenant:
    return tenant(folder, with_secret(written), environ=ENVIRON)


@pytest.mark.parametrize(
    ("written", "secrets"),
    [
        ("${ACME_SECRET}", ["one"]),
        ("{value: '${ACME_SECRET}'}", ["one"]),
        ("[{value: '${NEXT_SECRET}'}]", ["two"]),
        (BOTH, ["one", "two"]),
    ],
)
def test_a_client_has_one_or_two_secrets(tmp_path: Path, written: str, secrets: list[str]) -> None:
    provider = acme(tmp_path, written).default_provider
    assert [secret.reveal() for secret in provider.client_secrets] == secrets
    assert provider.registration == acme(tmp_path, "${ACME_SECRET}").default_provider.registration


def test_a_change_of_the_second_secret_is_a_change_of_the_tenant(tmp_path: Path) -> None:
    text = with_secret(BOTH)
    revisions = {
        tenant(tmp_path, text, environ={**ENVIRON, "NEXT_SECRET": second}).revision for second in "abb"
    }
    assert len(revisions) == 2


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("[]", "5:11: client.secret must have at least 1 entry, found 0"),
        ("[a1]", "5:12: client.secret[1] must be a mapping, found text"),
        ("[{value: a1}, {value: a1}]", "5:11: client.secret has the same secret twice; "),
        ("[{value: a}, {value: b}, {value: c}]", "5:11: client.secret must have at most 2 entries, found 3"),
        ("{expires_at: 2027-01-31}", '5:3: client.secret lacks the key "value": the secret: ${NAME} from'),
        ("{value: a1, expires: 1}", '5:23: unknown key in client.secret; did you mean "expires_at"?'),
        ("{value: a1, expires_at: 2027-02-30}", "5:35: client.secret.expires_at must be a date such as"),
        ("{value: a1, expires_at: '31.1.2027'}", "5:35: client.secret.expires_at must be a date such as"),
        ("{value: a1, expires_at: 1027-01-31}", "5:35: client.secret.expires_at must be a date such as"),
        ("[{value: '${NONE}'}]", "5:20: client.secret[1].value needs the environment variable NONE"),
    ],
)
def test_what_is_no_secret_is_refused_with_its_place(tmp_path: Path, written: str, problem: str) -> None:
    [found] = problems(tmp_path, with_secret(written), environ=ENVIRON)
    assert found.startswith(f"acme.yaml:{problem}"), found


def test_every_secret_of_client_secret_jwt_is_long_enough(tmp_path: Path) -> None:
    text = with_secret(BOTH) + "  auth: client_secret_jwt\n"
    environ = {"ACME_SECRET": "x" * 32, "NEXT_SECRET": "short"}
    [found] = problems(tmp_path, text, environ=environ)
    assert "client.secret has 5 bytes, and auth: client_secret_jwt needs 32" in found


@pytest.mark.parametrize(
    ("left", "threshold"),
    [
        (60 * DAY + 1, None),
        (60 * DAY, 60),
        (30 * DAY + 1, 60),
        (30 * DAY, 30),
        (7 * DAY + 1, 30),
        (7 * DAY, 7),
        (1, 7),
        (0, 0),
        (-DAY, 0),
    ],
)
def test_there_are_notices_60_30_and_7_days_before(
    tmp_path: Path, left: float, threshold: int | None
) -> None:
    acme_tenant = acme(tmp_path, "{value: '${ACME_SECRET}', expires_at: 2027-01-31}")
    notices = secret_notices(acme_tenant, END - left)
    assert [notice.threshold for notice in notices] == ([] if threshold is None else [threshold])
    assert all(notice.expires_at == END and notice.expired is (left <= 0) for notice in notices)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (
            "{value: a1, expires_at: 2027-01-31}",
            "the client secret expires on 2027-01-31; add its successor as a second secret before that date",
        ),
        (
            "[{value: a1, expires_at: 2027-01-31T00:00Z}, {value: b1}]",
            "the first client secret expires on 2027-01-31; "
            "remove it, so that the second one takes its place",
        ),
        (
            "[{value: a1}, {value: b1, expires_at: 2027-01-31T00:00:00Z}]",
            "the second client secret expires on 2027-01-31; "
            "create another one at the provider, and replace it",
        ),
    ],
)
def test_a_notice_says_what_to_do(tmp_path: Path, written: str, text: str) -> None:
    [notice] = secret_notices(acme(tmp_path, written), END - DAY)
    assert (notice.text, notice.tenant, notice.provider) == (text, "acme", "default")


def test_certificates_and_keys_of_signed_secrets_have_notices_too(tmp_path: Path) -> None:
    certificate = issue("acme")
    (tmp_path / "acme.pem").write_text(certificate.chain)
    (tmp_path / "acme.key").write_text(certificate.private_key())
    signed = "signed_secret: {issuer: A1, key_id: B2, private_key: file:acme.key, expires_at: 2027-01-31}"
    pair = "certificate: file:acme.pem\n  private_key: file:acme.key"
    text = ACME.replace("secret: ${ACME_SECRET}", f"{signed}\n  auth: client_secret_post\n  {pair}")
    found = tenant(tmp_path, text)
    later = max(one.at for one in found.default_provider.expiries)
    assert sorted(notice.credential for notice in secret_notices(found, max(later, END) + 1)) == [
        "the certificate",
        "the key of signed_secret",
    ]


def test_a_check_of_the_file_warns_at_the_place_of_each(tmp_path: Path) -> None:
    text = with_secret("[{value: plain, expires_at: 2020-01-31}, {value: '${NEXT_SECRET}'}]")
    warnings = [str(one) for one in read_tenant(write(tmp_path, text), environ=ENVIRON).warnings]
    assert [one.rpartition("acme.yaml:")[2] for one in warnings] == [
        "5:20: the client secret is in plain text; write ${NAME} or file:/path instead",
        "5:12: the first client secret expired on 2020-01-31; "
        "remove it, so that the second one takes its place",
    ]


def test_a_tenant_can_be_read_without_warnings_and_hints(tmp_path: Path) -> None:
    """As portals read it: nobody sees them there, and they take a quarter of the time."""
    path = write(tmp_path, with_secret("plain"))
    with_advice, without = (read_tenant(path, environ=ENVIRON, advice=advice) for advice in (True, False))
    assert with_advice.warnings != without.warnings == without.hints == ()
    assert (without.tenant, without.places, without.presets) == (
        with_advice.tenant,
        with_advice.places,
        with_advice.presets,
    )
