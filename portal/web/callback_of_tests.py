"""The redirect URI that only test logins of drafts have."""

from __future__ import annotations

from portal.web.callback import CallbackHandler
from portal.web.cookies import BINDING_COOKIE, POSTED_BINDING_COOKIE


class TestCallbackHandler(CallbackHandler):
    """`GET, POST /t/{tenant}/callback/{provider}/test-{server}`: responses that are for test logins only.

    See `portal.admin.test_redirect_uris.redirect_uri`.
    """

    __test__ = False  # not a class of tests

    async def get(self, tenant: str, provider: str | None = None) -> None:
        await self.finish_test(tenant)

    async def post(self, tenant: str, provider: str | None = None) -> None:
        await self.store_posted_test(
            tenant, self.read_cookie(POSTED_BINDING_COOKIE) or self.read_cookie(BINDING_COOKIE)
        )
