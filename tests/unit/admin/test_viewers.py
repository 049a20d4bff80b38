"""Who may open the console."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from portal.access.accounts import AccountRule, Operator
from portal.access.rules import Comparison, Rule
from portal.admin.actors import Actor, ActorType
from portal.admin.file_sign_ins import FileSignIns
from portal.admin.viewers import NOBODY, BoundSetupLink, Right, Viewer, Viewers
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from tests.kit.samples import sample_login, sample_tenant

EMAIL = Rule(("email",), Comparison.EQUALS, ("ann@acme.example",), ("email_verified",))
ANN = {"sub": "ann", "email": "ann@acme.example", "email_verified": True}
SETUP_RIGHTS = {Right.DRAFT}


class Memory:
    """What the database remembers."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        self.keys.add(key)
        return True

    async def is_remembered(self, key: str, *, now: float) -> bool:
        return key in self.keys


class Tenants:
    """A registry with the tenants acme and globex, of which acme has admins."""

    def __init__(self, *, of_operator: bool = True) -> None:
        self._of_operator = of_operator
        self._acme = sample_tenant("acme", admins=(AccountRule(EMAIL, "default"),))
        self._globex = sample_tenant("globex")

    def get(self, slug: str) -> Tenant | None:
        return {"acme": self._acme, "globex": self._globex}.get(slug)

    def is_of_operator(self, slug: str) -> bool:
        return self._of_operator


def viewer(
    *logins: Login,
    operators: tuple[Operator, ...] = (),
    of_operator: bool = True,
    made_with_file: bool = True,
    cookie: str | None = None,
) -> Viewer:
    async def found(cookie: str) -> BoundSetupLink | None:
        return BoundSetupLink("globex", "Gina") if cookie == "right" else None

    async def find() -> Viewer:
        tenants = Tenants(of_operator=of_operator)
        sign_ins = FileSignIns(Memory(), tenants, operators, seconds=3600, clock=lambda: 0.0)
        for login in logins if made_with_file else ():
            tenant = tenants.get(login.tenant)
            if tenant is not None and login.provider in tenant.providers:
                await sign_ins.record(login, tenant.providers[login.provider])
        viewers = Viewers(tenants, operators, sign_ins=sign_ins, find_setup_link=found)
        return await viewers.of(logins, cookie)

    return asyncio.run(find())


def rights(of: Viewer, slug: str | None) -> set[Right]:
    return {right for right in Right if of.may(right, slug)}


def test_an_admin_has_every_right_at_their_tenant_but_that_of_operators() -> None:
    ann = viewer(sample_login(claims=ANN, subject="ann", issuer="https://login.acme.example/"))
    assert rights(ann, "acme") == set(Right) - {Right.OPERATE}
    assert rights(ann, "globex") == rights(ann, "nowhere") == set()
    assert rights(ann, None) == {Right.VIEW}
    assert (ann.operator, ann.opens_console) == (False, True)
    assert ann.admin_of == {"acme"}
    assert ann.actor_for("acme") == Actor(ActorType.ADMIN, "ann", "https://login.acme.example/")
    with pytest.raises(ValueError, match="no right"):
        ann.actor_for("globex")


@pytest.mark.parametrize(
    "login",
    [
        sample_login(claims={**ANN, "email_verified": "true"}),
        sample_login(claims={**ANN, "email": "Ann@acme.example"}),
        sample_login(claims={**ANN, "email": ["ann@acme.example"]}),
        sample_login(claims={"sub": "ann"}),
        sample_login(claims=ANN, provider="other"),
        sample_login(claims=ANN, tenant="globex"),
        sample_login(claims=ANN, tenant="removed"),
    ],
)
def test_nobody_else_is_an_admin(login: Login) -> None:
    assert viewer(login) == NOBODY
    assert not NOBODY.opens_console
    assert rights(NOBODY, "acme") == rights(NOBODY, None) == set()


def test_an_operator_has_every_right_everywhere() -> None:
    operators = (Operator("globex", AccountRule(EMAIL)),)
    ann = viewer(sample_login(claims=ANN, subject="ann", tenant="globex"), operators=operators)
    assert rights(ann, "acme") == rights(ann, "nowhere") == rights(ann, None) == set(Right)
    assert ann.actor_for("nowhere").type is ActorType.OPERATOR
    assert viewer(sample_login(claims=ANN, tenant="initech"), operators=operators) == NOBODY


def test_a_tenant_of_the_database_has_no_operators() -> None:
    operators = (Operator("globex", AccountRule(EMAIL)),)
    login = sample_login(claims=ANN, tenant="globex")
    assert viewer(login, operators=operators, of_operator=False) == NOBODY


def test_a_login_that_was_not_made_with_the_file_gives_no_rights_of_it() -> None:
    operators = (Operator("acme", AccountRule(EMAIL)),)
    login = sample_login(claims=ANN)
    assert viewer(login, operators=operators).operator
    assert viewer(login, operators=operators, made_with_file=False) == NOBODY
    of_database = viewer(login, operators=operators, of_operator=False, made_with_file=False)
    assert not of_database.operator
    assert of_database.admin_of == {"acme"}


def test_who_became_an_operator_by_a_later_claim_signs_in_again() -> None:
    operators = (Operator("acme", AccountRule(EMAIL)),)
    tenants, memory = Tenants(), Memory()
    sign_ins = FileSignIns(memory, tenants, operators, seconds=3600, clock=lambda: 0.0)
    before = sample_login(claims={"sub": "ann"})
    tenant = tenants.get("acme")
    assert tenant is not None
    asyncio.run(sign_ins.record(before, tenant.providers["default"]))
    assert not memory.keys
    asyncio.run(sign_ins.record(replace(before, claims=ANN), sample_tenant("acme").providers["default"]))
    assert not memory.keys  # equal, but not that of the live tenant
    asyncio.run(sign_ins.record(replace(before, claims=ANN), tenant.providers["default"]))
    assert len(memory.keys) == 2  # as operator, and as admin


def test_who_has_a_setup_link_edits_the_draft_of_its_tenant_only() -> None:
    assert viewer(cookie="wrong") == NOBODY
    gina = viewer(cookie="right")
    assert rights(gina, "globex") == {Right.DRAFT}
    assert rights(gina, "acme") == rights(gina, None) == set()
    assert (gina.setup, gina.opens_console) == ("globex", False)
    assert gina.actor_for("globex") == Actor(ActorType.SETUP_LINK, "Gina")
    publishes = Viewer(link=BoundSetupLink("globex", "Gina"), link_publishes=True)
    assert rights(publishes, "globex") == {Right.DRAFT, Right.PUBLISH}
