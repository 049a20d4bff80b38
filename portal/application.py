"""The Tornado application of a portal: its addresses, static files and limits of parsing."""

from __future__ import annotations

from tornado.httputil import (
    ParseBodyConfig,
    ParseMultipartConfig,
    ParseUrlEncodedConfig,
    set_parse_body_config,
)
from tornado.web import Application

from portal.routes import PortalApplication, routes
from portal.web.asset_files import load_assets
from portal.web.assets import AssetHandler, assets_folder
from portal.web.context import Portal
from portal.web.cookies import XSRF_COOKIE
from portal.web.request_spans import patterns_of

_MOST_PARAMETERS = 100
"""Of a query or form. Tornado parses them before a handler runs."""


def application(portal: Portal) -> Application:
    """Make the Tornado application of a portal."""
    set_parse_body_config(
        ParseBodyConfig(
            multipart=ParseMultipartConfig(enabled=False),
            urlencoded=ParseUrlEncodedConfig(max_arguments=_MOST_PARAMETERS),
        )
    )
    secure = portal.sites.main.secure
    static = assets_folder("static")
    rules = routes()
    return PortalApplication(
        rules,
        portal=portal,
        patterns=patterns_of(rules),
        assets=load_assets(static),
        static_path=str(static),
        static_url_prefix="/static/",
        static_handler_class=AssetHandler,
        xsrf_cookie_name=portal.sites.main.cookie_name(XSRF_COOKIE),
        xsrf_cookie_kwargs={"httponly": True, "secure": secure, "samesite": "Lax", "path": "/"},
        log_function=lambda handler: None,
        compress_response=False,
    )
