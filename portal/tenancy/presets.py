"""What is known of common kinds of providers, so that a tenant file need not say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from portal.config.field_types import refused
from portal.oidc.issuer import PLACEHOLDER
from portal.oidc.provider import AssertionAudience, ClientAuth

PresetName = Literal[
    "auth0", "okta", "entra", "google", "keycloak", "cognito", "gitlab", "zitadel", "generic"
]
_PLAIN_SCOPES = ("openid", "profile", "email")
PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory that Entra keeps personal Microsoft accounts in."""
OFFLINE_ACCESS = "offline_access"
_OFFLINE_SCOPES = (*_PLAIN_SCOPES, OFFLINE_ACCESS)


@dataclass(frozen=True, slots=True)
class Preset:
    """Quirks of one kind of provider. Everything here can be overridden in the tenant file.

    A fact about a provider has its source in a comment beside it: the provider's own documentation where
    there is one, else a report. What nobody has found written down is left out.
    """

    name: str
    title: str
    domain_form: str | None = "https://{domain}"
    """The issuer that `domain` stands for; None: a domain does not say the issuer."""
    fixed_issuer: str | None = None
    """The issuer when neither `domain` nor `issuer` is written."""
    issuer_form: str = "https://login.example.com"
    """What an issuer looks like, for messages."""
    issuer_end: str = ""
    """How every issuer of this kind ends."""
    scopes: tuple[str, ...] = _OFFLINE_SCOPES
    unknown_scopes: tuple[str, ...] = ()
    """Scopes that this kind of provider responds with an error."""
    authorize_params: tuple[tuple[str, str], ...] = ()
    client_auth: ClientAuth = ClientAuth.CLIENT_SECRET_BASIC
    logout_form: str | None = None
    """Logout URL with {domain}, {client_id} and {return_to}, for want of a standard one."""
    logout_form_wins: bool = False
    """The provider's metadata names an `end_session_endpoint` that does not take the standard parameters."""
    shared_domains: tuple[str, ...] = ()
    """Values of `domain` that stand for all directories at once; each is a part of its issuer's path."""
    shared_form: str = ""
    """The issuer that such a `domain` stands for, with {domain}."""
    encrypts_logout_tokens: bool = True
    """Where ID tokens are encrypted, logout tokens are, too."""
    takes_assertions: bool = True
    """Whether a provider of this kind may take assertions as the portal makes them."""
    assertion_audience: AssertionAudience = AssertionAudience.ISSUER
    """What it wants an assertion to name as its audience."""
    takes_certificates: bool = False
    """Whether it takes assertions that are signed with the key of an uploaded certificate, and no others."""
    logout_domain: bool = False
    """`domain` is the host of the sign-in pages, not the issuer's, and goes with `issuer`."""
    userinfo: bool = False
    """Whether claims of UserInfo are added to those of the ID token where the file does not say."""
    userinfo_api: str | None = None
    """UserInfo takes only access tokens for this API. A scope that is an address names another one."""
    groups_limit: int | None = None
    """A user in more groups than this has none of them in `groups` of the ID token."""
    offline_needs_consent: bool = False
    """Whether `offline_access` may be ignored without `prompt: consent` (OIDC Core 11)."""
    frontchannel_without_issuer: bool = False
    """Front-channel logout requests have `sid` and no `iss`."""
    note: str = ""
    """One sentence for the reference."""

    def issuer(self, domain: str | None, issuer: str | None) -> str:
        """Return the issuer for what a tenant file says; raise `refused` when it does not say one."""
        if domain and issuer and not self.logout_domain:
            raise refused('is also said by "issuer"; keep one of the two', key="domain")
        if issuer:
            self._check(issuer)
            return issuer
        if domain in self.shared_domains:
            return self.shared_form.replace("{domain}", str(domain))
        if domain and self.domain_form:
            return self.domain_form.replace("{domain}", domain)
        if domain or not self.fixed_issuer:
            raise refused(self._remedy(domain), key="domain" if domain else None)
        return self.fixed_issuer

    def issuer_template(self, issuer: str) -> str | None:
        """Return what metadata and tokens state in place of an issuer that all directories share."""
        parts = urlsplit(issuer).path.split("/")
        shared = next((part for part in self.shared_domains if part in parts), None)
        return None if shared is None else issuer.replace(f"/{shared}/", f"/{PLACEHOLDER}/")

    def logout_template(self, domain: str | None, issuer: str) -> str | None:
        """Return the logout URL with {client_id} and {return_to}, or None when it is the standard one."""
        host = domain if self.logout_domain else urlsplit(issuer).netloc
        return self.logout_form.replace("{domain}", host) if self.logout_form and host else None

    def asks_userinfo(self, written: bool | None, *, endpoint_known: bool) -> bool:
        """Whether UserInfo is asked for: as the file says, else as the preset where it can be."""
        return self.userinfo and endpoint_known if written is None else written

    def check_userinfo(self, written: bool | None, scopes: Sequence[str]) -> None:
        """Refuse `userinfo: true` where the access token is for another API than UserInfo's.

        Parameters: written and scopes, as the file says. Without a scope that names an API, the token is for
        UserInfo's.
        """
        if not written or self.userinfo_api is None:
            return
        if any("/" in scope and not scope.startswith(self.userinfo_api) for scope in scopes):
            raise refused(
                f"needs an access token for {self.userinfo_api}, and a scope here asks for one for another "
                f"API; leave userinfo out: ID tokens of {self.title} have the same claims",
                key="userinfo",
            )

    def _remedy(self, domain: str | None) -> str:
        if domain and self.fixed_issuer:
            return f"does not say the issuer of {self.title}, which is {self.fixed_issuer}; leave domain out"
        if domain:
            return f"does not say the issuer of {self.title}; write issuer: {self.issuer_form}"
        if self.domain_form:
            return (
                f'lacks "domain" or "issuer": write domain: acme.example.com, or issuer: {self.issuer_form}'
            )
        return f'lacks "issuer": write issuer: {self.issuer_form}'

    def _check(self, issuer: str) -> None:
        if self.shared_domains and "consumers" in urlsplit(issuer).path.split("/"):
            raise refused(
                "is not what tokens of personal accounts state; write issuer: "
                f"{self.shared_form.replace('{domain}', PERSONAL_ACCOUNTS)}",
                key="issuer",
            )
        if not issuer.endswith(self.issuer_end):
            raise refused(f"must end with {self.issuer_end} as in {self.issuer_form}", key="issuer")


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "auth0",
                "Auth0",
                domain_form="https://{domain}/",
                issuer_form="https://acme.eu.auth0.com/",
                issuer_end="/",
                logout_form="https://{domain}/v2/logout?client_id={client_id}&returnTo={return_to}",
                # https://auth0.com/docs/secure/tokens/refresh-tokens and, for back-channel logout,
                # https://auth0.com/docs/authenticate/login/logout/back-channel-logout/configure-back-channel-logout
                note=(
                    "Name your API in `audience`; without it Auth0 gives an access token that no API takes. "
                    "For refresh tokens, switch on Allow Offline Access in the settings of that API. "
                    "Back-channel logout is part of Auth0's Enterprise plans only."
                ),
            ),
            Preset(
                "okta",
                "Okta",
                issuer_form="https://acme.okta.com/oauth2/default",
                # "must be the endpoint invoked for the request", an article of support.okta.com says
                assertion_audience=AssertionAudience.ENDPOINT,
                # https://help.okta.com/en-us/Content/topics/security/api-config-claims.htm: claims are not
                # "in the ID token when requested with an access token or authorization code" by default
                userinfo=True,
                note=(
                    "`domain` is the org server; an API of yours needs a custom server's `issuer`. Sets "
                    "`userinfo: true`, since ID tokens have few claims unless the claim says Always."
                ),
            ),
            Preset(
                "entra",
                "Microsoft Entra ID",
                domain_form=None,
                issuer_form="https://login.microsoftonline.com/<directory (tenant) id>/v2.0",
                issuer_end="/v2.0",
                shared_domains=("organizations", "common"),
                shared_form="https://login.microsoftonline.com/{domain}/v2.0",
                client_auth=ClientAuth.CLIENT_SECRET_POST,
                takes_assertions=False,
                # https://learn.microsoft.com/entra/identity-platform/userinfo
                userinfo_api="https://graph.microsoft.com/",
                # https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
                groups_limit=200,
                # https://github.com/nginxinc/nginx-openid-connect/issues/117
                frontchannel_without_issuer=True,
                # learn.microsoft.com/entra/identity-platform/certificate-credentials
                assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
                takes_certificates=True,
                note=(
                    "Name your API in `scopes`, as `api://<application id>/<scope>`; `userinfo: true` is "
                    "refused beside it. An application for several directories has `domain: organizations` "
                    "(or `common`) and `tenant_ids`. Users in more than 200 groups have no `groups` in their "
                    "tokens: use app roles, or only groups that are assigned to the application."
                ),
            ),
            Preset(
                "google",
                "Google",
                domain_form=None,
                fixed_issuer="https://accounts.google.com",
                issuer_form="https://accounts.google.com",
                scopes=_PLAIN_SCOPES,
                unknown_scopes=("offline_access",),
                authorize_params=(("access_type", "offline"), ("prompt", "consent")),
                takes_assertions=False,
                note=(
                    "Needs `hosted_domain` or `access`. The preset sends `access_type: offline` and "
                    "`prompt: consent`, for a refresh token."
                ),
            ),
            Preset(
                "keycloak",
                "Keycloak",
                domain_form=None,
                issuer_form="https://login.example.com/realms/<realm>",
                scopes=_PLAIN_SCOPES,
                encrypts_logout_tokens=False,
                note="Refreshes without `offline_access`, which is for tokens that outlive a logout.",
            ),
            Preset(
                "cognito",
                "Amazon Cognito",
                domain_form=None,
                issuer_form="https://cognito-idp.<region>.amazonaws.com/<user pool id>",
                scopes=_PLAIN_SCOPES,
                unknown_scopes=("offline_access",),
                logout_form="https://{domain}/logout?client_id={client_id}&logout_uri={return_to}",
                logout_form_wins=True,
                takes_assertions=False,
                logout_domain=True,
                note="`domain` beside `issuer` is the domain of the sign-in pages; a logout needs it.",
            ),
            Preset(
                "gitlab",
                "GitLab",
                fixed_issuer="https://gitlab.com",
                issuer_form="https://gitlab.com",
                scopes=_PLAIN_SCOPES,
                unknown_scopes=("offline_access",),
                takes_assertions=False,
                # https://docs.gitlab.com/integration/openid_connect_provider: `groups` is in UserInfo only
                userinfo=True,
                note=(
                    "Without `domain` and `issuer` it is gitlab.com, which needs `access`. A logout ends the "
                    "portal's login only. Sets `userinfo: true`, since `groups` is not in the ID token."
                ),
            ),
            Preset(
                "zitadel",
                "ZITADEL",
                # https://zitadel.com/docs/apis/openidoauth/claims: profile and e-mail are in ID tokens only
                # where no access token is issued
                userinfo=True,
                # https://help.zitadel.com/how-to-enable-and-receive-refresh-tokens
                note=(
                    "Switch on Refresh Token in the settings of the application. Sets `userinfo: true`, as "
                    "name and e-mail address are not in the ID token."
                ),
            ),
            Preset(
                "generic",
                "an OpenID provider",
                offline_needs_consent=True,
                # https://lemonldap-ng.org/documentation/latest/idpopenidconnect.html: claims are in ID tokens
                # only with the option "Force claims to be returned in ID Token"
                note=(
                    "Any provider that follows OpenID Connect. Those that follow its section 11 to the "
                    "letter, such as npm's `oidc-provider`, give a refresh token only with "
                    "`authorize_params: {prompt: consent}`. Those whose ID tokens have few claims, "
                    "such as LemonLDAP::NG, need `userinfo: true`."
                ),
            ),
        )
    }
)
"""Every preset by its name in a tenant file."""
