"""Client authentication in tenant files, and its examples in the documentation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from portal.oidc.client_authentication import credentials
from portal.oidc.provider import ClientAuth, IdTokenEncryption
from portal.secret import Secret
from portal.tenancy.loading import read_tenant
from tests.kit.rsa_keys import rsa_key
from tests.unit.oidc.sample_client_keys import make_client_keys
from tests.unit.outbound.certificates import issue
from tests.unit.tenancy.files import ACME, problems, tenant, write
from tests.unit.tenancy.test_reference import errors

EXAMPLES = sorted(
    (Path(__file__).resolve().parents[3] / "docs" / "examples" / "client-authentication").glob("*.yaml")
)
WITHOUT_SECRET = ACME.replace("  secret: ${ACME_SECRET}\n", "")
AUTHORITY = issue("Private Authority", authority=True)
CLIENT = issue("portal", AUTHORITY, days=365)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder with the files that the tenant files name."""
    folder = tmp_path / "secrets"
    for name, content in (
        ("acme", "0123456789abcdef0123456789abcdef"),
        ("acme.pem", CLIENT.chain),
        ("acme.key", CLIENT.private_key()),
        ("acme-ca.pem", AUTHORITY.chain),
        ("key-first.pem", CLIENT.private_key() + CLIENT.chain),
        ("other.key", issue("other").private_key()),
        ("locked.key", CLIENT.private_key(b"password")),
        ("text.pem", "hunter2"),
    ):
        write(folder, content, name).chmod(0o600)
    return folder


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_of_client_authentication_follows_the_schema_loads_and_works(
    path: Path, tmp_path: Path, secrets: Path
) -> None:
    text = path.read_text()
    assert errors(text) == []
    moved = write(tmp_path, text.replace("file:/run/secrets/", f"file:{secrets}/"), path.name)
    loaded = read_tenant(moved, environ={"ACME_CLIENT_SECRET": "0123456789abcdef0123456789abcdef"})
    assert loaded.warnings == ()
    provider = loaded.tenant.default_provider
    assert provider.client_auth == yaml.safe_load(text)["client"]["auth"]
    authentication = credentials(provider, make_client_keys())
    assert authentication.headers or authentication.fields
    assert (provider.client_certificate is not None) is ("tls" in path.stem)


def test_there_is_one_example_for_every_method() -> None:
    methods = [yaml.safe_load(path.read_text())["client"]["auth"] for path in EXAMPLES]
    assert sorted(methods) == sorted(ClientAuth)
    assert [path.stem.replace("-", "_") for path in EXAMPLES] == methods


def test_a_certificate_is_read_from_the_files_that_are_named(tmp_path: Path, secrets: Path) -> None:
    text = WITHOUT_SECRET + (
        f"  auth: tls_client_auth\n  certificate: file:{secrets}/acme.pem\n"
        "  private_key: file:secrets/acme.key\ntls: {ca: file:secrets/acme-ca.pem}\n"
    )
    provider = tenant(tmp_path, text).default_provider
    assert provider.client_certificate is not None
    assert provider.client_certificate.chain.strip() == CLIENT.chain.strip()
    assert provider.client_certificate.private_key.reveal().strip() == CLIENT.private_key().strip()
    assert provider.tls_authorities is not None
    assert provider.tls_authorities.strip() == AUTHORITY.chain.strip()
    assert provider.tls.certificate is None


def test_a_changed_certificate_is_a_new_revision_and_its_files_are_watched(
    tmp_path: Path, secrets: Path
) -> None:
    text = WITHOUT_SECRET + (
        "  auth: self_signed_tls_client_auth\n  certificate: file:secrets/acme.pem\n"
        "  private_key: file:secrets/acme.key\ntls: {ca: file:secrets/acme-ca.pem}\n"
        "api: {base_url: 'https://api.acme.example', mtls: true, tls: {ca: file:secrets/api-ca.pem}}\n"
    )
    write(secrets, AUTHORITY.chain, "api-ca.pem")
    path = write(tmp_path, text)
    first = read_tenant(path)
    assert first.tenant.api is not None
    assert (first.tenant.api.mtls, first.tenant.api.tls_authorities) == (True, AUTHORITY.chain.rstrip("\n"))
    names = [file.name for file in first.secret_files]
    assert sorted(names) == ["acme-ca.pem", "acme.key", "acme.pem", "api-ca.pem"]
    renewed = issue("portal", AUTHORITY)
    write(secrets, renewed.chain, "acme.pem")
    write(secrets, renewed.private_key(), "acme.key")
    second = read_tenant(path)
    write(secrets, AUTHORITY.chain + issue("Next", authority=True).chain, "acme-ca.pem")
    third = read_tenant(path)
    write(secrets, issue("Next", authority=True).chain, "api-ca.pem")
    revisions = {one.tenant.revision for one in (first, second, third, read_tenant(path))}
    assert len(revisions) == 4


def test_signing_algorithm_and_id_token_encryption_are_read(tmp_path: Path) -> None:
    provider = tenant(tmp_path, ACME).default_provider
    assert (provider.client_signing_alg, provider.id_token_encryption) == ("RS256", None)
    text = WITHOUT_SECRET + (
        "  auth: private_key_jwt\n  signing_alg: EdDSA\nid_token_encryption: {alg: ECDH-ES+A128KW}\n"
    )
    provider = tenant(tmp_path, text).default_provider
    assert provider.client_auth is ClientAuth.PRIVATE_KEY_JWT
    assert provider.client_secret is None
    assert provider.client_signing_alg == "EdDSA"
    # OIDC Registration 2: the default of id_token_encrypted_response_enc
    assert provider.id_token_encryption == IdTokenEncryption("ECDH-ES+A128KW", "A128CBC-HS256")


PAIR = "  certificate: file:secrets/acme.pem\n  private_key: file:secrets/acme.key\n"
TLS = WITHOUT_SECRET + "  auth: tls_client_auth\n"
API = "api: {base_url: 'https://api.acme.example'"
KEY = WITHOUT_SECRET + "  auth: private_key_jwt\n"
LONG_SECRET = ACME.replace("${ACME_SECRET}", "a secret of more than thirty-two bytes")
BY_SECRET = LONG_SECRET + "  auth: client_secret_jwt\n"
OKTA = "preset: okta\n"
SHARED_KEY_DEFAULTS = (False, "RS256", "issuer")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # existing registrations keep the shared key
        (KEY, SHARED_KEY_DEFAULTS),
        (KEY + "  signing_alg: ES256\n", (False, "ES256", "issuer")),
        (ACME + "request_object: signed\n", SHARED_KEY_DEFAULTS),
        (BY_SECRET, SHARED_KEY_DEFAULTS),
        (KEY + "  signing_key: shared\n  assertion_audience: issuer\n", SHARED_KEY_DEFAULTS),
        (KEY + "  signing_key: own\n", (True, "ES256", "issuer")),
        (KEY + "  signing_key: own\n  signing_alg: EdDSA\n", (True, "EdDSA", "issuer")),
        (KEY + "  assertion_audience: token_endpoint\n", (True, "ES256", "token_endpoint")),
        (KEY + "  assertion_audience: endpoint\n", (True, "ES256", "endpoint")),
        (ACME + "  signing_key: own\nrequest_object: signed\n", (True, "ES256", "issuer")),
        (BY_SECRET + "  assertion_audience: token_endpoint\n", (False, "RS256", "token_endpoint")),
        (KEY + OKTA, (True, "ES256", "endpoint")),
        (KEY + "  signing_alg: EdDSA\n" + OKTA, (True, "EdDSA", "endpoint")),
        (KEY + "  signing_alg: RS256\n" + OKTA, SHARED_KEY_DEFAULTS),
        (KEY + "  signing_key: shared\n" + OKTA, SHARED_KEY_DEFAULTS),
        (KEY + "  assertion_audience: issuer\n" + OKTA, SHARED_KEY_DEFAULTS),
        (BY_SECRET + OKTA, (False, "RS256", "endpoint")),
        (ACME + OKTA, SHARED_KEY_DEFAULTS),
    ],
)
def test_signing_key_algorithm_and_assertion_audience(
    tmp_path: Path, text: str, expected: tuple[bool, str, str]
) -> None:
    text = text.replace("/realms/staff", "")  # as the issuers of Okta
    provider = tenant(tmp_path, text).default_provider
    found = (provider.client_key, provider.client_signing_alg, provider.assertion_audience.value)
    assert found == expected


SIGNING = KEY + "  signing_key: certificate\n"


def test_the_key_of_an_uploaded_certificate_signs_and_is_not_presented(tmp_path: Path, secrets: Path) -> None:
    text = SIGNING + PAIR + "preset: entra\n"
    text = text.replace("https://login.acme.example/realms/staff", "https://login.microsoftonline.com/x/v2.0")
    provider = tenant(tmp_path, text).default_provider
    found = (provider.client_key, provider.client_signing_alg, provider.assertion_audience.value)
    assert found == (True, "ES256", "token_endpoint")
    assert provider.signing_certificate is not None
    assert provider.signing_certificate.thumbprint == CLIENT.of_client.thumbprint
    assert provider.client_certificate is None
    bound = tenant(tmp_path, text + API + ", mtls: true}\n").default_provider
    assert bound.client_certificate == bound.signing_certificate == provider.signing_certificate
    by_tls = SIGNING.replace("private_key_jwt", "tls_client_auth") + PAIR + "request_object: signed\n"
    provider = tenant(tmp_path, by_tls).default_provider
    assert provider.client_certificate == provider.signing_certificate is not None


@pytest.mark.parametrize(
    ("make_key", "algorithms"),
    [
        (lambda: rsa_key(0), ["PS256", "RS256"]),
        (lambda: ec.generate_private_key(ec.SECP256R1()), ["ES256"]),
        (lambda: ec.generate_private_key(ec.SECP384R1()), []),
        (lambda: rsa.generate_private_key(65537, 1024), []),
    ],
    ids=["RSA", "P-256", "P-384", "a short RSA key"],
)
def test_the_key_of_a_certificate_determines_the_signing_algorithms(
    tmp_path: Path,
    secrets: Path,
    make_key: Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey],
    algorithms: list[str],
) -> None:
    key = make_key()
    issued = issue("portal", AUTHORITY, key=key)
    write(secrets, issued.chain, "acme.pem")
    write(secrets, issued.chain + issued.private_key(), "acme.key")
    usable = [
        alg
        for alg in ("RS256", "PS256", "ES256", "EdDSA")
        if not problems(tmp_path, SIGNING + f"  signing_alg: {alg}\n" + PAIR)
    ]
    assert usable == sorted(algorithms, reverse=True)
    if algorithms:
        assert tenant(tmp_path, SIGNING + PAIR).default_provider.client_signing_alg == algorithms[0]
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        (problem,) = problems(tmp_path, SIGNING + PAIR)
        assert "is neither an RSA key of at least 2048 bits nor a key on P-256" in problem


def test_an_own_key_may_be_used_at_endpoints_that_are_not_at_the_issuer(tmp_path: Path) -> None:
    text = KEY + "endpoints: {token: 'https://tokens.acme.example/'}\n"
    assert "unless client.signing_key is own" in problems(tmp_path, text)[0]
    provider = tenant(tmp_path, text.replace("jwt\n", "jwt\n  signing_key: own\n")).default_provider
    assert provider.endpoints.token == "https://tokens.acme.example/"


@pytest.mark.parametrize("audience", ["token_endpoint", "endpoint"])
def test_no_tenant_file_can_use_the_shared_key_for_an_audience_other_than_the_issuer(
    tmp_path: Path, audience: str
) -> None:
    named = KEY + f"  assertion_audience: {audience}\n"
    (problem,) = problems(tmp_path, named + "  signing_key: shared\n")
    assert f"client.signing_key must be own with assertion_audience: {audience}" in problem
    for alg in ("RS256", "PS256"):
        (problem,) = problems(tmp_path, named + f"  signing_alg: {alg}\n")
        assert f"client.signing_alg must be ES256 or EdDSA with assertion_audience: {audience}" in problem


def test_a_secret_is_allowed_with_private_key_jwt_for_hs256_tokens(tmp_path: Path) -> None:
    text = ACME + "  auth: private_key_jwt\nid_token_algs: [HS256]\n"
    assert tenant(tmp_path, text).default_provider.client_secret == Secret("s3cret-of-acme")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TLS, "client.certificate is missing: auth: tls_client_auth needs it; write file:/path"),
        (SIGNING, "client.signing_key is certificate, which needs certificate and private_key"),
        (
            KEY + "  signing_key: own\n  signing_alg: PS256\n",
            "client.signing_alg must be ES256 or EdDSA with signing_key: own",
        ),
        (
            ACME + "  assertion_audience: issuer\n",
            "client.assertion_audience is only used with auth: client_secret_jwt or private_key_jwt",
        ),
        (
            TLS + PAIR.splitlines(keepends=True)[0],
            "client.private_key is missing: auth: tls_client_auth needs",
        ),
        (
            ACME + PAIR.splitlines(keepends=True)[1],
            "client.certificate is missing: the other file of the pair needs it; write file:/path",
        ),
        (
            ACME + API + ", mtls: true}\n",
            "api has mtls: true, but no client has a certificate; add client.certificate",
        ),
        (ACME + API + ", tls: {ca: file:secrets/text.pem}}\n", "api.tls.ca names a file that is not in PEM"),
        (
            ACME + API + ", tls: {ca: file:secrets/acme.pem}}\n",
            "api.tls.ca holds no certificate of a certificate authority",
        ),
        (
            TLS + PAIR.replace("acme.key", "other.key"),
            "client.certificate does not belong to the private key",
        ),
        (
            TLS + PAIR.replace("acme.key", "locked.key"),
            "client.*has a password; take it off",
        ),
        (TLS + PAIR.replace("acme.pem", "acme.key"), "client.certificate is not usable: certificate and"),
        (
            TLS + "  certificate: file:secrets/acme.key\n  private_key: file:secrets/acme.pem\n",
            "client.certificate and private_key: the two files seem to be swapped",
        ),
        (
            TLS + PAIR.replace("acme.pem", "key-first.pem").replace("acme.key", "other.key"),
            "client.certificate does not belong to the private key",
        ),
        (TLS + PAIR.replace("acme.key", "."), "client.private_key needs a file in the folder"),
        (TLS + PAIR.replace("acme.key", "none"), "client.private_key needs a file in the folder"),
        (
            TLS + PAIR.replace("acme.key", "text.pem"),
            "client.private_key names a file that is not in PEM form",
        ),
        (
            TLS + PAIR.replace("file:secrets/acme.key", "hunter2"),
            "client.private_key must name a file: write file:/run/secrets/acme.pem",
        ),
        (TLS + PAIR.replace("file:secrets/acme.key", "[hunter2]"), "client.private_key must name a file"),
        (
            ACME + "tls: {ca: file:secrets/acme.pem}\n",
            "tls.ca holds no certificate of a certificate authority",
        ),
        (ACME + "tls: {ca: file:secrets/acme.key}\n", "tls.ca holds no certificate in PEM form"),
        (
            WITHOUT_SECRET + "  auth: private_key_jwt\nendpoints: {token: https://evil.example/token}\n",
            "endpoints has a token outside the issuer's origin",
        ),
        (
            ACME + "  auth: client_secret_jwt\n",
            "client.secret has 14 bytes, and auth: client_secret_jwt needs",
        ),
        (WITHOUT_SECRET + "  auth: client_secret_jwt\n", "client.secret is missing"),
        (
            ACME + "  signing_alg: HS256\n",
            'client.signing_alg is "HS256"; expected one of: RS256, PS256, ES256',
        ),
        (
            ACME + "  auth: private_key_jwd\n",
            'client.auth is "private_key_jwd"; .*did you mean "private_key_jwt"',
        ),
        (ACME + "id_token_encryption: {}\n", 'id_token_encryption lacks the key "alg"'),
        (
            ACME + "id_token_encryption: {alg: RSA1_5}\n",
            "id_token_encryption.alg must be one of: RSA-OAEP, RSA-OAEP-256",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_position_and_without_keys(
    tmp_path: Path, secrets: Path, text: str, problem: str
) -> None:
    (found,) = problems(tmp_path, text)
    assert re.search(r"^acme\.yaml:\d+:\d+: " + (problem if "*" in problem else re.escape(problem)), found)
    assert "hunter2" not in found
    assert "PRIVATE KEY" not in found


def with_long_exponent(key: rsa.RSAPrivateKey) -> rsa.RSAPrivateKey:
    """Return a key with the same modulus and a public exponent of 2046 bits."""
    numbers, exponent = key.private_numbers(), 2**2045 + 1
    order = math.lcm(numbers.p - 1, numbers.q - 1)
    while math.gcd(exponent, order) != 1:
        exponent += 2
    d = pow(exponent, -1, order)
    public = rsa.RSAPublicNumbers(exponent, numbers.public_numbers.n)
    parts = (numbers.p, numbers.q, d, d % (numbers.p - 1), d % (numbers.q - 1), numbers.iqmp)
    return rsa.RSAPrivateNumbers(*parts, public).private_key(unsafe_skip_rsa_key_validation=True)


@pytest.mark.parametrize("text", [TLS, SIGNING])
def test_D1_a_key_with_slow_signatures_is_refused(tmp_path: Path, secrets: Path, text: str) -> None:
    slow = issue("portal", key=with_long_exponent(rsa_key(0)))
    (secrets / "acme.pem").write_text(slow.chain, encoding="ascii")
    (secrets / "acme.key").write_text(slow.private_key(), encoding="ascii")
    (found,) = problems(tmp_path, text + PAIR)
    assert "client.private_key has a public exponent of 2046 bits; expected at most 32" in found


@pytest.mark.parametrize("key", ["mtls: true", "tls: {ca: file:secrets/acme-ca.pem}"])
def test_tls_settings_of_an_api_need_https(tmp_path: Path, secrets: Path, key: str) -> None:
    text = ACME + PAIR + f"api: {{base_url: 'http://localhost:9', {key}}}\n"
    (problem,) = problems(tmp_path, text, private=True)
    assert f"api.{key.partition(':')[0]} has no effect without an https base_url" in problem


SIGNED = """\
name: Acme
issuer: https://appleid.apple.com
access: anyone
client:
  id: com.acme.portal
  signed_secret: {issuer: TEAM123456, key_id: KEY1234567, private_key: 'file:secrets/acme.key'}
"""


def test_a_signed_secret_takes_the_place_of_the_secret(tmp_path: Path, secrets: Path) -> None:
    first = read_tenant(write(tmp_path, SIGNED))
    signer = first.tenant.default_provider.secret_signer
    assert signer is not None
    assert (signer.issuer, signer.key_id) == ("TEAM123456", "KEY1234567")
    assert first.tenant.default_provider.client_secret is None
    assert first.secret_files == (secrets / "acme.key",)
    (secrets / "acme.key").write_text(issue("another").private_key())
    assert read_tenant(tmp_path / "acme.yaml").tenant.revision != first.tenant.revision


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SIGNED + "  secret: s3cret\n",
         "7:11: client.secret is not used with signed_secret; remove one of the two"),
        (SIGNED + "  auth: private_key_jwt\n",
         "7:9: client.auth must be client_secret_post or client_secret_basic with signed_secret"),
        (SIGNED.replace("acme.key", "acme.pem"),
         "6:72: client.signed_secret.private_key cannot be read; expected a private key in PEM form"),
        (SIGNED.replace("key_id: KEY1234567, ", ""),
         '6:3: client.signed_secret lacks the key "key_id": the id of the key at the provider'),
    ],
)  # fmt: skip
def test_a_wrong_signed_secret_is_refused(tmp_path: Path, secrets: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [f"acme.yaml:{problem}"]
