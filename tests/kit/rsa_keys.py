"""RSA keys for tests, made quickly: every two primes of a process make a key."""

from __future__ import annotations

import functools
from math import isqrt

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_EXPONENT = 65537
_BITS = 2048


@functools.cache
def rsa_key(number: int) -> RSAPrivateKey:
    """Return a key of 2048 bits, the same for a number in one process, and another for each number.

    To generate a key takes 50 ms of CPU time and more, and gives two primes. Six primes are enough for the
    keys 0 to 14. Whoever has two keys with a common prime can compute both: these are for tests only.
    """
    second = (isqrt(8 * number + 1) + 1) // 2  # pairs in the order (0, 1), (0, 2), (1, 2), (0, 3), …
    p, q = _prime(second), _prime(number - second * (second - 1) // 2)
    d = rsa.rsa_recover_private_exponent(_EXPONENT, p, q)
    parts = (p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    numbers = rsa.RSAPrivateNumbers(*parts, rsa.RSAPublicNumbers(_EXPONENT, p * q))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _prime(number: int) -> int:
    return _two_primes(number // 2)[number % 2]


@functools.cache
def _two_primes(number: int) -> tuple[int, int]:
    numbers = rsa.generate_private_key(_EXPONENT, _BITS).private_numbers()
    return numbers.p, numbers.q
