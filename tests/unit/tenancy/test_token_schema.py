"""Keys of a tenant file about tokens: `dpop`, `userinfo`, `userinfo_algs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.tenancy.files import ACME, problems, tenant


def test_dpop_and_userinfo_are_off_by_default(tmp_path: Path) -> None:
    provider = tenant(tmp_path, ACME).default_provider
    assert (provider.dpop, provider.userinfo, provider.userinfo_algs) == (False, False, None)
    assert provider.issuer_template is None


def test_options_of_tokens_are_in_the_provider(tmp_path: Path) -> None:
    text = ACME + "dpop: true\nuserinfo: true\nuserinfo_algs: [ES256, RS256, ES256]\n"
    provider = tenant(tmp_path, text).default_provider
    assert (provider.dpop, provider.userinfo) == (True, True)
    assert provider.userinfo_algs == ("ES256", "RS256")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("dpop: yes please\n", "acme.yaml:6:7: dpop must be true or false, found text"),
        (
            "userinfo_algs: [RS256]\n",
            "acme.yaml:6:16: userinfo_algs has no effect without userinfo: true",
        ),
        (
            "userinfo: true\nuserinfo_algs: []\n",
            "acme.yaml:7:16: userinfo_algs must have at least 1 entry, found 0",
        ),
        (
            "userinfo: true\ndiscovery: false\nendpoints: {authorization: https://a.example/a, "
            "token: https://a.example/t, jwks: https://a.example/j}\n",
            "acme.yaml:6:11: userinfo is true, which needs endpoints with userinfo",
        ),
        (
            "tenant_ids: any\n",
            "acme.yaml:6:13: tenant_ids is only valid with preset entra and domain: organizations or common",
        ),
    ],
)
def test_a_mistake_in_an_option_of_tokens_is_reported_with_its_position(
    tmp_path: Path, lines: str, problem: str
) -> None:
    assert problems(tmp_path, ACME + lines) == [problem]


def test_userinfo_signed_with_a_secret_needs_one(tmp_path: Path) -> None:
    text = ACME.replace("  secret: ${ACME_SECRET}\n", "  auth: none\n")
    (problem,) = problems(tmp_path, text + "userinfo: true\nuserinfo_algs: [HS256]\n")
    assert problem.endswith("userinfo_algs lists an HS algorithm, which needs a client secret")
