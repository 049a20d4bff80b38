"""docs/protocol.md "Discovery and keys": Entra's templated issuer (`{tenantid}`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from portal.oidc.errors import IdTokenRejected, MetadataRejected, RefreshRejected
from portal.oidc.issuer import IssuerTemplate, is_directory_id
from portal.oidc.provider import Authentication
from portal.secret import Secret
from tests.unit.oidc.party import Party, acme, held
from tests.unit.oidc.signing import login_claims, public_jwk, registration, signed
from tests.unit.outbound.wire import Received, http_response

OURS = "72f988bf-86f1-41af-91ab-2d7cd011db47"
THEIRS = "9188040d-6c67-4c5b-b112-36a304b66dad"
TEMPLATE = "https://login.microsoftonline.com/{tenantid}/v2.0"


class Entra:
    """A provider with several directories at one origin."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.stated = party.wire.url("/{tenantid}/v2.0")
        party.responses = self._respond

    def _respond(self, request: Received) -> bytes:
        if request.target == "/organizations/v2.0/.well-known/openid-configuration":
            own = {name: self.party.wire.url(f"/{name}") for name in ("authorization_endpoint", "jwks_uri")}
            token = {"token_endpoint": self.party.wire.url("/token")}
            return http_response(200, json.dumps({**own, **token, "issuer": self.stated}))
        return self.party.script(request)

    def issuer(self, directory: str) -> str:
        return self.party.wire.url(f"/{directory}/v2.0")

    def registration(self, directories: Sequence[str] | None = (OURS,)) -> dict[str, Any]:
        template = IssuerTemplate(
            self.party.wire.url("/{tenantid}/v2.0"), None if directories is None else frozenset(directories)
        )
        return {"issuer": self.party.wire.url("/organizations/v2.0"), "issuer_template": template}

    async def sign_in(
        self, claims: dict[str, Any], directories: Sequence[str] | None = (OURS,), kid: str | None = "key-1"
    ) -> Authentication:
        claims = login_claims(**{"iss": self.issuer(OURS), "tid": OURS, **claims})
        self.party.tokens["id_token"] = signed(claims, kid=kid).reveal()
        return await self.party.finish(**self.registration(directories))


@asynccontextmanager
async def entra(**changes: Any) -> AsyncIterator[Entra]:
    async with acme(**changes) as party:
        yield Entra(party)


@pytest.mark.gen_test
async def test_the_login_has_the_issuer_of_the_directory_in_the_id_token() -> None:
    async with entra() as entra_:
        done = await entra_.sign_in({})
        assert done.issuer == entra_.issuer(OURS)
        assert (await entra_.sign_in({}, None)).issuer == entra_.issuer(OURS)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"tid": None}, "tid"),
        ({"tid": 5}, "tid"),
        ({"tid": "organizations"}, "tid"),
        ({"tid": OURS.upper()}, "tid"),
        ({"tid": f"{OURS}/v2.0/.."}, "tid"),
        ({"tid": THEIRS}, "tid_not_allowed"),
        ({"iss": "THEIRS", "tid": THEIRS}, "tid_not_allowed"),
        ({"iss": "THEIRS"}, "iss"),
        ({"iss": "organizations"}, "iss"),
        ({"iss": "{tenantid}"}, "iss"),
        ({"iss": None}, "iss"),
    ],
)
async def test_a_token_with_an_invalid_or_disallowed_directory_is_rejected(
    claims: dict[str, Any], rule: str
) -> None:
    async with entra() as entra_:
        if claims.get("iss"):
            name = claims["iss"]
            claims = {**claims, "iss": entra_.issuer(THEIRS if name == "THEIRS" else name)}
        with pytest.raises(IdTokenRejected) as rejection:
            await entra_.sign_in(claims)
        assert rejection.value.rule == rule


@pytest.mark.gen_test
async def test_iss_and_tid_must_match_even_if_any_directory_is_allowed() -> None:
    async with entra() as entra_:
        done = await entra_.sign_in({"iss": entra_.issuer(THEIRS), "tid": THEIRS}, None)
        assert done.issuer == entra_.issuer(THEIRS)
        with pytest.raises(IdTokenRejected, match="iss"):
            await entra_.sign_in({"tid": THEIRS}, None)


@pytest.mark.gen_test
@pytest.mark.parametrize("stated", ["/organizations/v2.0", f"/{OURS}/v2.0", "/{tenantid}/v2.0/"])
async def test_the_issuer_of_shared_metadata_must_equal_the_template(stated: str) -> None:
    async with entra() as entra_:
        entra_.stated = entra_.party.wire.url(stated)
        with pytest.raises(MetadataRejected, match="issuer"):
            await entra_.sign_in({})


@pytest.mark.gen_test
async def test_without_the_preset_a_templated_issuer_is_not_accepted() -> None:
    async with entra() as entra_:
        issuer = entra_.party.wire.url("/organizations/v2.0")
        with pytest.raises(MetadataRejected, match="issuer"):
            await entra_.party.finish(issuer=issuer)


@pytest.mark.gen_test
async def test_the_key_of_one_directory_signs_for_no_other() -> None:
    async with entra() as entra_:
        entra_.party.keys = [
            public_jwk(kid="shared", issuer=entra_.stated),
            public_jwk(kid="ours", issuer=entra_.issuer(OURS)),
            public_jwk(kid="theirs", issuer=entra_.issuer(THEIRS)),
        ]
        for kid in ("shared", "ours"):
            assert (await entra_.sign_in({}, kid=kid)).subject == "user-1"
        with pytest.raises(IdTokenRejected) as rejection:
            await entra_.sign_in({}, kid="theirs")
        assert rejection.value.rule == "key_issuer"


@pytest.mark.gen_test
async def test_the_key_of_one_directory_without_a_kid_signs_for_no_other() -> None:
    for stated, accepted in ((None, True), ("OURS", True), ("shared", True), ("THEIRS", False)):
        async with entra() as entra_:
            issuers = {"OURS": OURS, "THEIRS": THEIRS, "shared": "{tenantid}"}
            more: dict[str, Any] = {} if stated is None else {"issuer": entra_.issuer(issuers[stated])}
            for kid in ("of-the-key", None):
                entra_.party.keys = [public_jwk(kid=kid, **more)]
                if accepted:
                    assert (await entra_.sign_in({}, kid=None)).subject == "user-1"
                    continue
                with pytest.raises(IdTokenRejected) as rejection:
                    await entra_.sign_in({}, kid=None)
                assert rejection.value.rule == "key_issuer"


@pytest.mark.gen_test
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("one", "other", "accepted"),
    [
        (OURS, OURS, True),
        (OURS, "{tenantid}", True),
        (OURS, None, True),
        (OURS, THEIRS, False),
        (None, THEIRS, False),
        ("{tenantid}", THEIRS, False),
        (THEIRS, THEIRS, False),
    ],
)
async def test_all_keys_with_the_same_kid_must_belong_to_the_directory(
    one: str | None, other: str | None, accepted: bool, order: tuple[int, int]
) -> None:
    """It is unknown which of them signed."""
    async with entra() as entra_:
        stated = [{} if name is None else {"issuer": entra_.issuer(name)} for name in (one, other)]
        keys = [public_jwk(kid="twice", which=number, **more) for number, more in enumerate(stated)]
        entra_.party.keys = [keys[number] for number in order]
        if accepted:
            assert (await entra_.sign_in({}, kid="twice")).subject == "user-1"
            return
        with pytest.raises(IdTokenRejected) as rejection:
            await entra_.sign_in({}, kid="twice")
        assert rejection.value.rule == "key_issuer"


@pytest.mark.gen_test
async def test_a_key_of_another_type_with_the_same_kid_is_ignored() -> None:
    async with entra() as entra_:
        theirs = public_jwk("P-256", kid="twice", issuer=entra_.issuer(THEIRS))
        entra_.party.keys = [theirs, public_jwk(kid="twice", issuer=entra_.issuer(OURS))]
        assert (await entra_.sign_in({}, kid="twice")).subject == "user-1"


@pytest.mark.gen_test
async def test_a_refresh_keeps_the_directory_of_the_login() -> None:
    async with entra() as entra_:
        registration = entra_.registration(None)
        before = signed(login_claims(iss=entra_.issuer(OURS), tid=OURS))
        entra_.party.tokens["id_token"] = signed(
            login_claims(iss=entra_.issuer(THEIRS), tid=THEIRS, nonce=None)
        ).reveal()
        with pytest.raises(RefreshRejected, match="iss_changed"):
            await entra_.party.refresh(held(id_token=before), **registration)
        entra_.party.tokens["id_token"] = signed(
            login_claims(iss=entra_.issuer(OURS), tid=OURS, nonce=None)
        ).reveal()
        assert (await entra_.party.refresh(held(id_token=before), **registration)).access_token == Secret(
            "at"
        )


@pytest.mark.parametrize(
    ("issuer", "matches"),
    [
        (TEMPLATE.replace("{tenantid}", OURS), True),
        (TEMPLATE.replace("{tenantid}", THEIRS), False),
        (TEMPLATE, False),
        (TEMPLATE.replace("{tenantid}", f"{OURS}/x/{OURS}"), False),
        (f"https://login.microsoftonline.com/{OURS}/v2.0/", False),
        (f"https://login.microsoftonline.example/{OURS}/v2.0", False),
        ("", False),
        ("https://login.microsoftonline.com/", False),
    ],
)
def test_issuers_of_allowed_directories_match(issuer: str, matches: bool) -> None:
    assert IssuerTemplate(TEMPLATE, frozenset({OURS})).matches(issuer) is matches


def test_an_empty_list_allows_no_directory() -> None:
    assert not IssuerTemplate(TEMPLATE, frozenset()).matches(TEMPLATE.replace("{tenantid}", OURS))


@pytest.mark.parametrize(
    "text", ["", OURS[:-1], f"{OURS}0", OURS.replace("-", ""), OURS.upper(), f"{OURS}\n"]
)
def test_only_a_guid_is_a_directory_id(text: str) -> None:
    assert is_directory_id(OURS)
    assert not is_directory_id(text)


@pytest.mark.gen_test
@pytest.mark.parametrize("stated", [THEIRS, THEIRS.upper(), None])
async def test_a_refresh_with_a_token_of_a_disallowed_directory_ends_the_login(
    stated: str | None,
) -> None:
    """Its access token is also that of another user."""
    async with entra() as entra_:
        before = signed(login_claims(iss=entra_.issuer(OURS), tid=OURS))
        theirs = login_claims(iss=entra_.issuer(THEIRS), nonce=None, **({"tid": stated} if stated else {}))
        entra_.party.tokens["id_token"] = signed(theirs).reveal()
        with pytest.raises(RefreshRejected):
            await entra_.party.refresh(held(id_token=before), **entra_.registration())


def test_a_registration_with_a_template_accepts_issuers_of_its_directories_only() -> None:
    template = IssuerTemplate(TEMPLATE, frozenset({OURS}))
    provider = registration(issuer=TEMPLATE, issuer_template=template)
    assert provider.accepts_issuer(TEMPLATE.replace("{tenantid}", OURS))
    assert not provider.accepts_issuer(TEMPLATE.replace("{tenantid}", THEIRS))
    assert not provider.accepts_issuer(TEMPLATE)
