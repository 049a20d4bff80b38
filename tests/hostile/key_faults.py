"""Faults of the keys in a JWK Set."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.document_oracle import PRIVATE
from tests.hostile.documents import Json, Members, members
from tests.hostile.faults import Fault, added_faults, member_faults
from tests.hostile.minting import KID, rsa_jwk
from tests.hostile.samples import EC_MEMBER, key_set


def key_faults() -> Iterator[Fault]:
    """Faults of the required key."""
    key = Members((*rsa_jwk().pairs, ("key_ops", ["verify"]), ("x5t", "x"), ("x5c", ["MIIB"])))
    for fault in [*added_faults(key), *member_faults(key, huge=100_000)]:
        yield Fault(f"the key: {fault.name}", key_set(fault.document, EC_MEMBER))
    for name in PRIVATE:
        yield Fault(f"the key with its private {name}", key_set(key.plus(name, "AQAB")))
    for use in ("enc", "SIG", "sig ", "tls"):
        yield Fault(f"the key for {use!r}", key_set(key.changed("use", use)))
    for operations in (["sign"], ["encrypt"], ["verify", "sign"], ["VERIFY"], [["verify"]]):
        yield Fault(f"the key for {operations}", key_set(key.changed("key_ops", operations)))
    for alg in ("RS512", "PS256", "ES256", "HS256", "none", "RSA-OAEP", "rs256"):
        yield Fault(f"the key for {alg}", key_set(key.changed("alg", alg)))
    for kty in ("EC", "OKP", "oct", "rsa", "RSA "):
        yield Fault(f"the key as {kty!r}", key_set(key.changed("kty", kty)))
    for name, value in (
        ("e", "Aw"),
        ("e", "AQ"),
        ("e", "AA"),
        ("n", "AQAB"),
        ("n", "A" * 342),
        ("n", "_" * 342),
    ):
        yield Fault(f"the key with {name} = {value[:20]}", key_set(key.changed(name, value)))
    yield Fault("the key with n of 16,384 bits", key_set(key.changed("n", "_" * 2_731)))
    yield Fault("the key with e of 4,096 bits", key_set(key.changed("e", "_" * 683)))


def neighbour_faults() -> Iterator[Fault]:
    """Faults of another key, which must not affect the required one."""
    good = rsa_jwk()
    for fault in [*added_faults(EC_MEMBER), *member_faults(EC_MEMBER, huge=100_000)]:
        yield Fault(f"a neighbour: {fault.name}", key_set(fault.document, good))
    attackers, another = rsa_jwk("an attacker's", kid="key-3"), rsa_jwk("x", alg="PS256")
    others: list[Json] = [None, True, 1, "x", [], members(), [good], attackers, good, another]
    for number, other in enumerate(others):
        yield Fault(f"neighbour {number}", key_set(other, good, other))
    yield Fault("a symmetric neighbour of the same kid", key_set(members(kty="oct", k="AA", kid=KID), good))
    yield Fault("a curve of the same kid", key_set(EC_MEMBER.changed("kid", KID), good))
    yield Fault("60 neighbours", key_set(*[EC_MEMBER] * 60, good))
    yield Fault("255 neighbours", key_set(*[EC_MEMBER] * 255, good))
    yield Fault("256 neighbours", key_set(*[EC_MEMBER] * 256, good))
