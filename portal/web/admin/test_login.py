"""Test logins at the providers of a draft."""

from __future__ import annotations

from dataclasses import replace

from portal.admin.draft_state import FailedTest
from portal.admin.drafts import DraftChanged, OpenDraft
from portal.admin.editing import set_values, values
from portal.admin.general_form import admin_rule, with_admin
from portal.admin.test_login_errors import TestLoginRefused
from portal.admin.test_logins import PlannedTest
from portal.admin.test_report import LONGEST_NAME
from portal.admin.viewers import Right
from portal.errors import BadRequest, NotFound, PortalError
from portal.oidc.authorization import AuthorizationOptions
from portal.sentences import message
from portal.tenancy.model import Tenant
from portal.web.admin.base import AdminHandler
from portal.web.admin.form import Form, TextField
from portal.web.admin.test_login_views import (
    TestLoginsPage,
    claim_values,
    provider_views,
    result_page,
)

_AGAIN = TextField(
    name="again", label="Ask me to sign in again", pattern="1", sentence="", longest=1, required=False
)
_VERSION = TextField(
    name="version", label="Version", pattern=r"[0-9]{1,16}", sentence="Open the page again.", longest=16
)


def _claim_field(name: str, label: str, *, required: bool = True) -> TextField:
    return TextField(
        name=name,
        label=label,
        pattern=rf"[^\x00-\x1f\x7f]{{1,{LONGEST_NAME}}}",
        sentence="Choose one of the claims.",
        longest=LONGEST_NAME,
        required=required,
    )


_CLAIM_FIELDS = (
    _claim_field("name", message("Name")),
    _claim_field("email", message("E-mail address")),
    _claim_field("roles", message("Roles"), required=False),
    _VERSION,
)
_CHANGED = message("Somebody else changed the draft meanwhile. Nothing was stored; save again.")
_CHANGED_HERE = message("You changed the draft in another tab. Nothing was stored; save again.")
_KEYS = ("name", "email", "roles")


class TestLoginHandler(AdminHandler):
    """Base of the pages of test logins."""

    __test__ = False  # not a class of tests
    right = Right.DRAFT
    of_database = True

    def retry_url(self, error: PortalError) -> str | None:
        if isinstance(error, TestLoginRefused):
            return f"/admin/t/{self.slug}/draft/test"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return (
            message("Back to the draft")
            if isinstance(error, TestLoginRefused)
            else super().retry_label(error)
        )

    def planned(self, draft: OpenDraft, provider: str) -> tuple[Tenant, PlannedTest]:
        """The tenant and the test login of a draft. Raises NotFound, TestLoginRefused."""
        if draft.loaded is not None and provider not in draft.loaded.tenant.providers:
            raise NotFound("the draft has no such provider")
        planned = self.services.test_logins.plan(draft, provider)
        assert draft.loaded is not None  # noqa: S101 - `plan` refuses others
        return draft.loaded.tenant, planned

    def result_url(self, provider: str) -> str:
        return f"/admin/t/{self.slug}/draft/test/{provider}"


class TestLoginsHandler(TestLoginHandler):
    """`GET /admin/t/{tenant}/draft/test`: the providers of the draft, and their last test logins."""

    async def get(self, tenant: str) -> None:
        draft = await self.stored_draft(tenant)
        providers, refusal = provider_views(draft, self.services.test_logins)
        self.show("admin/test_logins.html", TestLoginsPage(tenant, providers, refusal))


class TestResultHandler(TestLoginHandler):
    """`GET, POST /admin/t/{tenant}/draft/test/{provider}`: the last test login; begin one."""

    async def get(self, tenant: str, provider: str) -> None:
        draft = await self.stored_draft(tenant)
        found, planned = self.planned(draft, provider)
        actor = self.viewer.actor_for(tenant).as_json()
        saved = self.get_query_argument("saved", "") == "1"
        self.show("admin/test_result.html", replace(result_page(draft, found, planned, actor), saved=saved))

    async def post(self, tenant: str, provider: str) -> None:
        """Begin a test login, and redirect the browser to the provider."""
        form = self.read_form([_AGAIN])
        self.planned(await self.stored_draft(tenant), provider)
        begun = await self.services.test_logins.begin(
            tenant,
            provider,
            bind=self.bind_attempt,
            act=self.act(),
            options=AuthorizationOptions(prompt="login" if form["again"] == "1" else None),
        )
        self.redirect(self.result_url(provider) if isinstance(begun, FailedTest) else begun.url, status=303)


class TestClaimsHandler(TestLoginHandler):
    """`POST /admin/t/{tenant}/draft/test/{provider}/claims`: which claims are name, e-mail and roles."""

    async def post(self, tenant: str, provider: str) -> None:
        form = self.read_form(_CLAIM_FIELDS)
        draft = await self.stored_draft(tenant)
        found, planned = self.planned(draft, provider)
        actor = self.viewer.actor_for(tenant).as_json()
        page = result_page(draft, found, planned, actor, typed=form.values)
        if not page.choices:
            raise TestLoginRefused(
                "no test login of this viewer",
                explanation="Choose claims after a test login that you made yourself.",
            )
        now = claim_values(found.claims)
        for choice in page.choices:
            known = {option.claim for option in choice.options} | {now[choice.name]}
            if form[choice.name] not in known and (form[choice.name] or choice.required):
                form.refuse(choice.name, message("Choose one of the claims."))
        if "version" in form.errors:
            raise DraftChanged(draft)
        if form.errors:
            page = result_page(draft, found, planned, actor, typed=form.values, errors=form.errors)
            self.show_again("admin/test_result.html", page)
            return
        await self._save(draft, found, planned, form)

    async def _save(self, draft: OpenDraft, tenant: Tenant, planned: PlannedTest, form: Form) -> None:
        now = claim_values(tenant.claims)
        changes: dict[tuple[str, ...], object] = {
            ("claims", key): form[key] or None for key in _KEYS if form[key] != now[key]
        }
        try:
            if changes:
                content = await self.services.contents.run(
                    draft.slug, set_values, draft.shown, changes, draft.slug
                )
                await self.services.drafts.save(
                    draft.slug, content, self.act(), replaces=int(form["version"])
                )
        except DraftChanged as changed:
            found, planned = self.planned(changed.theirs, planned.provider.id)
            self.note_draft(changed.theirs)
            page = result_page(
                changed.theirs,
                found,
                planned,
                self.viewer.actor_for(draft.slug).as_json(),
                typed=form.values,
                notice=_CHANGED_HERE if self.own_draft else _CHANGED,
            )
            self.set_status(409)
            self.show("admin/test_result.html", page)
            return
        self.redirect(f"{self.result_url(planned.provider.id)}?saved=1", status=303)


class TestAdminHandler(TestLoginHandler):
    """`POST /admin/t/{tenant}/draft/test/{provider}/admin`: makes the account of the test login an admin."""

    async def post(self, tenant: str, provider: str) -> None:
        form = self.read_form([_VERSION])
        draft = await self.services.drafts.get(tenant)
        found, planned = self.planned(draft, provider)
        page = result_page(draft, found, planned, self.viewer.actor_for(tenant).as_json())
        if not page.new_admin:
            raise TestLoginRefused(
                "no test login of this viewer whose account can become an admin",
                explanation="Make a test login with your own account first: one that may sign in.",
            )
        if form.errors:
            raise BadRequest("the version of the draft is not a number")
        try:
            content = await self.services.contents.run(tenant, _with_admin, draft, provider)
            await self.services.drafts.save(tenant, content, self.act(), replaces=int(form["version"]))
        except DraftChanged as changed:
            found, planned = self.planned(changed.theirs, provider)
            actor = self.viewer.actor_for(tenant).as_json()
            self.set_status(409)
            self.show(
                "admin/test_result.html",
                result_page(changed.theirs, found, planned, actor, notice=_CHANGED),
            )
            return
        self.redirect(self.result_url(provider), status=303)


def _with_admin(draft: OpenDraft, provider: str) -> str:
    """The content with the account of the last test login at a provider as admin."""
    assert draft.loaded is not None  # noqa: S101 - `plan` refuses others
    test, several = draft.state.tests[provider], len(draft.loaded.tenant.providers) > 1
    rule = admin_rule({**test.claims, "sub": test.subject}, provider, several=several)
    admins = with_admin(values(draft.shown, draft.slug).get("admins"), rule)
    return set_values(draft.shown, {("admins",): admins}, draft.slug)
