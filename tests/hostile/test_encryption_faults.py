"""Every single fault of an encrypted ID token: of its encryption and of its content."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from portal.oidc.client_keys import ClientKeySet, client_key
from portal.oidc.errors import IdTokenRejected
from portal.oidc.jose.jwe import open_token
from portal.oidc.jose.key_material import private_members
from portal.oidc.keys import KeySet, parse_key_set
from portal.oidc.provider import IdTokenEncryption
from portal.secret import Secret
from tests.hostile import encryption
from tests.hostile.documents import Json, Members, members, unreadable, write
from tests.hostile.encryption import RSA_HEADER
from tests.hostile.fault_report import EITHER, FaultReport
from tests.hostile.faults import Fault, added_faults, byte_faults, member_faults
from tests.hostile.minting import compact, rsa_jwk, rsa_key
from tests.hostile.samples import HEADER, SHORT, registration, sign_in
from tests.hostile.token_oracle import NOW, broken_rule

SUBJECT = "encrypted ID tokens"
GOOD = compact(write(HEADER), write(SHORT)).encode()


class Recipient:
    """The portal with its encryption keys; processes tokens encrypted for them."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.curve = ec.generate_private_key(ec.SECP256R1())
        made = [
            client_key(private_members(self.rsa), use="enc", kind="RSA", created_at=0.0),
            client_key(private_members(self.curve), use="enc", kind="EC", created_at=0.0),
        ]
        self.client_keys = ClientKeySet(made, clock=lambda: float(NOW))
        self.kids = [key.kid for key in made]
        self.keys: KeySet = parse_key_set(write(members(keys=[rsa_jwk()])).encode())

    def encrypted(self, header: Members | bytes = RSA_HEADER, text: bytes = GOOD) -> str:
        return encryption.for_rsa(header, text, self.rsa.public_key())

    def open(self, token: str, alg: str = "RSA-OAEP-256") -> object:
        provider = registration(id_token_encryption=IdTokenEncryption(alg, "A256GCM"))
        signed = open_token(Secret(token), provider, self.client_keys)
        return sign_in(signed.reveal(), self.keys, provider=provider)


@pytest.fixture(scope="module")
def portal() -> Recipient:
    return Recipient()


def broken_encryption_rule(header: Members, kids: list[str], *, algorithm: str) -> str | None:
    """Return the rule of RFC 7516 or RFC 8725 that the header breaks, or None."""
    if why := unreadable(header):
        return why
    if header.get("alg") != algorithm or header.get("enc") != "A256GCM":
        return "RFC 8725 3.1: not the registered algorithm"
    if header.has("crit") or header.has("zip"):
        return "an extension, or compression (RFC 8725 3.6)"
    if header.get("kid") not in (None, *kids):
        return "RFC 7516 4.1.6: for another key"
    return "more than 128 KB" if len(write(header)) * 4 / 3 > 131_072 - 2_500 else None


def test_every_single_fault_of_the_header_of_an_encrypted_token_is_handled_as_specified(
    portal: Recipient, report: FaultReport
) -> None:
    base = RSA_HEADER.plus("kid", portal.kids[0]).plus("typ", "JWT")
    changes: list[tuple[str, Json]] = [
        *(("alg", alg) for alg in ("RSA1_5", "RSA-OAEP", "dir", "none", "A256KW", "ECDH-ES", "RS256")),
        *(("enc", enc) for enc in ("A128GCM", "A256CBC-HS512", "none", "XC20P")),
        *(("zip", value) for value in ("DEF", "", None)),
        *(("crit", value) for value in (["exp"], None, "x")),
        *(("jku", "https://evil.example/"), ("jwk", rsa_jwk()), ("epk", rsa_jwk()), ("p2c", 10**9)),
        *(("kid", kid) for kid in ("../x", "https://evil.example/", "\0", "x" * 2_000, portal.kids[1])),
    ]
    faults = [Fault(f"{name} = {write(value)[:40]}", base.changed(name, value)) for name, value in changes]
    with report.trial(SUBJECT, IdTokenRejected) as trial:
        for fault in [*faults, *added_faults(base), *member_faults(base)]:
            why = broken_encryption_rule(fault.document, portal.kids[:1], algorithm="RSA-OAEP-256")
            trial.attempt(fault.name, why, portal.open, portal.encrypted(fault.document))
        for name, data, why in byte_faults(write(base).encode()):
            trial.attempt(f"bytes: {name}", why, portal.open, portal.encrypted(data))


def test_every_single_fault_of_the_encrypted_content_is_handled_as_specified(
    portal: Recipient, report: FaultReport
) -> None:
    within = {
        "a signature with another key": compact(write(HEADER), write(SHORT), key=rsa_key("an attacker's")),
        "claims without a signature": write(SHORT),
        "alg none": GOOD.decode().rpartition(".")[0] + ".",
        "nothing": "",
        "another encrypted token": portal.encrypted(),
        "an emoji": "🙂",
        "a NUL": GOOD.decode() + "\0",
    }
    with report.trial(SUBJECT, IdTokenRejected) as trial:
        for name, text in within.items():
            trial.attempt(
                f"within: {name}", "no right token within", portal.open, portal.encrypted(text=text.encode())
            )
        trial.attempt("not encrypted", "not encrypted as registered", portal.open, GOOD.decode())
        for fault in member_faults(SHORT, huge=100_000):
            token = portal.encrypted(text=compact(write(HEADER), fault.data).encode())
            trial.attempt(f"within: {fault.name}", broken_rule(HEADER, fault.document), portal.open, token)


def test_every_change_of_one_character_of_an_encrypted_token_is_rejected(
    portal: Recipient, report: FaultReport
) -> None:
    token = portal.encrypted()
    ends = {place - 1 for place, letter in enumerate(token + ".") if letter == "."}
    with report.trial(SUBJECT, IdTokenRejected) as trial:
        for place, letter in list(enumerate(token))[::5] + [(end, token[end]) for end in sorted(ends)]:
            other = "A" if letter != "A" else "B"
            changed = token[:place] + other + token[place + 1 :]
            # the last character of a part may contain unused bits (RFC 4648 3.5)
            why = EITHER if place in ends else "RFC 7516 5.2: the tag covers all of it"
            trial.attempt(f"character {place}", why, portal.open, changed)


def test_every_other_form_of_an_encrypted_token_is_rejected(portal: Recipient, report: FaultReport) -> None:
    token = portal.encrypted()
    parts = token.split(".")
    forms = {
        **{f"without part {n}": ".".join([*parts[:n], "", *parts[n + 1 :]]) for n in range(5)},
        **{f"part {n} of another token": _swapped(token, portal.encrypted(), n) for n in range(1, 5)},
        **{f"part {n} short": ".".join([*parts[:n], parts[n][:-4], *parts[n + 1 :]]) for n in range(5)},
        **{f"part {n} long": ".".join([*parts[:n], parts[n] + "AAAA", *parts[n + 1 :]]) for n in range(5)},
        "six parts": f"{token}.AAAA",
        "four dots": "....",
        "white space": f"{token}\n",
        "padding": f"{token}==",
        "1 MB": f"{token}{'A' * 1_000_000}",
        "for another recipient": encryption.for_rsa(RSA_HEADER, GOOD, rsa_key("x").public_key()),
    }
    with report.trial(SUBJECT, IdTokenRejected) as trial:
        for name, text in forms.items():
            trial.attempt(name, "RFC 7516 5.2: not this token", portal.open, text)


def _swapped(token: str, other: str, part: int) -> str:
    parts = token.split(".")
    parts[part] = other.split(".")[part]
    return ".".join(parts)


def test_every_single_fault_of_an_ephemeral_key_is_handled_as_specified(
    portal: Recipient, report: FaultReport
) -> None:
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    base = encryption.ecdh_header(ephemeral)
    key = base.get("epk")
    assert isinstance(key, Members)
    with report.trial(SUBJECT, IdTokenRejected) as trial:
        for fault in [*member_faults(key, huge=50_000), *_strange_points(key)]:
            header = base.changed("epk", fault.document)
            token = encryption.for_curve(header, GOOD, portal.curve.public_key(), ephemeral)
            why = unreadable(header) or _other_point(fault.document, key)
            trial.attempt(f"epk: {fault.name}", why, portal.open, token, "ECDH-ES")
        for fault in member_faults(base, huge=50_000):
            token = encryption.for_curve(fault.document, GOOD, portal.curve.public_key(), ephemeral)
            held = fault.document.get("epk")
            why = broken_encryption_rule(fault.document, portal.kids[1:], algorithm="ECDH-ES")
            why = why or (_other_point(held, key) if isinstance(held, Members) else "no key")
            trial.attempt(fault.name, why, portal.open, token, "ECDH-ES")


def _other_point(key: Members, right: Members) -> str | None:
    if key.has("d"):
        return "RFC 7518 4.6.1.1: it MUST contain only public key parameters"
    same = all(key.get(name) == right.get(name) for name in ("kty", "crv", "x", "y"))
    return None if same else "RFC 7518 4.6.1: another point, or none"


def _strange_points(key: Members) -> list[Fault]:
    zero, one, far = "A" * 43, "A" * 42 + "E", "_" * 43
    points = [(zero, zero), (one, one), (far, far), (str(key.get("x")), str(key.get("x")))]
    strange = [Fault(f"{x[:5]}, {y[:5]}", key.changed("x", x).changed("y", y)) for x, y in points]
    return [
        *strange,
        Fault("another curve", key.changed("crv", "P-384")),
        Fault("private", key.plus("d", one)),
    ]
