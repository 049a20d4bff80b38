"""A program that runs the PyPI package `django-oauth-toolkit` on 127.0.0.1 until standard input ends.

A Django site as in the toolkit's tutorial, with OpenID Connect and logout enabled. The first line of standard
input is its configuration as JSON: `folder`, for its database. It prints its issuer when it is ready.
`POST /admin/users` and `POST /admin/clients` add users and clients, `POST /admin/keys` changes the signing
key.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import django
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse

_APPLICATIONS = ("contenttypes", "auth", "sessions")
_MIDDLEWARE = (
    "sessions.middleware.SessionMiddleware",
    "middleware.csrf.CsrfViewMiddleware",
    "auth.middleware.AuthenticationMiddleware",
)
_SIGN_IN = """<form method="post">{% csrf_token %}
<input type="hidden" name="next" value="{{ next }}">
<input name="username"><input name="password" type="password"><button>Sign in</button></form>"""
_USERS: dict[str, Any] = {}
urlpatterns: list[Any] = []
"""Django reads this variable: the module is the site's ROOT_URLCONF."""


def _new_key() -> str:
    key = generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def configure(folder: Path) -> None:
    """Apply the Django settings."""
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                ("django.template.loaders.locmem.Loader", {"registration/login.html": _SIGN_IN}),
                "django.template.loaders.app_directories.Loader",
            ],
            "context_processors": ["django.template.context_processors.request"],
        },
    }
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "provider.db"}},
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in _APPLICATIONS), "oauth2_provider"],
        LOGGING_CONFIG=None,
        # Create tables directly, without migrations.
        MIGRATION_MODULES=dict.fromkeys((*_APPLICATIONS, "oauth2_provider")),
        MIDDLEWARE=[
            f"django.{'' if name.startswith('middleware') else 'contrib.'}{name}" for name in _MIDDLEWARE
        ],
        OAUTH2_PROVIDER={
            "ACCESS_TOKEN_EXPIRE_SECONDS": 300,
            "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.make_validator",
            "OIDC_ENABLED": True,
            "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": _new_key(),
            "OIDC_RSA_PRIVATE_KEYS_INACTIVE": [],
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
            "REQUEST_APPROVAL_PROMPT": "auto",
            "ROTATE_REFRESH_TOKEN": True,
            "SCOPES": {"openid": "Sign in", "profile": "Name", "email": "E-mail"},
        },
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="only for tests",
        STATIC_URL="/static/",
        TEMPLATES=[templates],
        USE_TZ=True,
    )
    logging.getLogger("django").setLevel(logging.ERROR)  # other lines contain URLs with codes
    django.setup()


def make_validator(*arguments: Any, **options: Any) -> Any:
    """Return the toolkit's validator, extended with the claims of this site's users."""
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class Validator(OAuth2Validator):  # type: ignore[misc]
        def get_additional_claims(self, request: Any) -> dict[str, Any]:
            claims: dict[str, Any] = _USERS[request.user.get_username()]
            return claims

    return Validator(*arguments, **options)


def new_users(request: HttpRequest) -> JsonResponse:
    """Add users: claims by user name; the password is the user name."""
    from django.contrib.auth.models import User

    for name, claims in json.loads(request.body).items():
        User.objects.create_user(name, password=name)
        _USERS[name] = claims
    return JsonResponse({})


def new_client(request: HttpRequest) -> JsonResponse:
    """Register a client with the requested id and secret."""
    from oauth2_provider.models import Application

    requested = json.loads(request.body)
    is_public = requested["token_endpoint_auth_method"] == "none"
    Application.objects.create(
        client_id=requested["client_id"],
        client_secret=requested["client_secret"],
        client_type=Application.CLIENT_PUBLIC if is_public else Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris=" ".join(requested["redirect_uris"]),
        post_logout_redirect_uris=" ".join(requested["post_logout_redirect_uris"]),
        algorithm=Application.RS256_ALGORITHM,
        name=requested["client_id"],
    )
    return JsonResponse({})


def new_key(request: HttpRequest) -> JsonResponse:
    """Change the signing key; with `keep`, the old one stays published."""
    from oauth2_provider.settings import oauth2_settings

    requested, options = json.loads(request.body), settings.OAUTH2_PROVIDER
    kept = [options["OIDC_RSA_PRIVATE_KEY"], *options["OIDC_RSA_PRIVATE_KEYS_INACTIVE"]]
    options["OIDC_RSA_PRIVATE_KEYS_INACTIVE"] = kept if requested["keep"] else []
    options["OIDC_RSA_PRIVATE_KEY"] = _new_key()
    oauth2_settings.reload()
    return JsonResponse({})


def make_site() -> None:
    """Create the tables and routes."""
    from django.contrib.auth.views import LoginView
    from django.urls import include, path
    from django.views.decorators.csrf import csrf_exempt

    call_command("migrate", run_syncdb=True, verbosity=0)
    urlpatterns.extend(
        [
            path("accounts/login/", LoginView.as_view()),
            path("admin/users", csrf_exempt(new_users)),
            path("admin/clients", csrf_exempt(new_client)),
            path("admin/keys", csrf_exempt(new_key)),
            path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
        ]
    )


class _Quiet(WSGIRequestHandler):  # type: ignore[misc]
    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the lines contain URLs with codes."""


def main() -> None:
    """Serve until standard input ends."""
    configuration = json.loads(sys.stdin.readline())
    configure(Path(configuration["folder"]))
    make_site()
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/o", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
