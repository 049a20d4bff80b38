"""Defaults for common kinds of providers."""

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
    """Defaults and limitations of one kind of provider. A tenant file can override the defaults.

    A comment next to each fact about a provider names its source: the provider's documentation if it covers
    the fact, otherwise a report. Undocumented behaviour is left out.
    """

    name: str
    title: str
    domain_form: str | None = "https://{domain}"
    """The issuer for `domain`; None: the issuer cannot be derived from a domain."""
    fixed_issuer: str | None = None
    """The issuer if the file has neither `domain` nor `issuer`."""
    issuer_form: str = "https://login.example.com"
    """An example of an issuer, for messages."""
    issuer_suffix: str = ""
    """The end of every issuer of this kind."""
    scopes: tuple[str, ...] = _OFFLINE_SCOPES
    unknown_scopes: tuple[str, ...] = ()
    """Scopes for which this kind of provider returns an error."""
    authorize_params: tuple[tuple[str, str], ...] = ()
    client_auth: ClientAuth = ClientAuth.CLIENT_SECRET_BASIC
    logout_form: str | None = None
    """Logout URL with {domain}, {client_id} and {return_to}, for providers without a standard endpoint."""
    logout_form_wins: bool = False
    """The `end_session_endpoint` in the metadata does not accept the standard parameters."""
    shared_domains: tuple[str, ...] = ()
    """Values of `domain` that cover all directories; each is a segment of the issuer's path."""
    shared_form: str = ""
    """The issuer for such a `domain`, with {domain}."""
    encrypts_logout_tokens: bool = True
    """Whether a provider that encrypts ID tokens also encrypts logout tokens."""
    accepts_assertions: bool = True
    """Whether a provider of this kind may accept the portal's client assertions."""
    assertion_audience: AssertionAudience = AssertionAudience.ISSUER
    """The audience that it requires in client assertions."""
    accepts_certificates: bool = False
    """Whether it accepts only assertions signed with the key of an uploaded certificate."""
    logout_domain: bool = False
    """`domain` is the host of the sign-in pages, not of the issuer, and is used together with `issuer`."""
    userinfo: bool = False
    """The default of `userinfo`."""
    userinfo_api: str | None = None
    """UserInfo accepts only access tokens for this API. A scope that is a URL selects another API."""
    groups_limit: int | None = None
    """The ID token omits `groups` for users in more groups than this."""
    offline_needs_consent: bool = False
    """Whether the provider may ignore `offline_access` without `prompt: consent` (OIDC Core 11)."""
    frontchannel_without_issuer: bool = False
    """Front-channel logout requests contain `sid` but not `iss`."""
    note: str = ""
    """The text for the reference page."""

    def issuer(self, domain: str | None, issuer: str | None) -> str:
        """Return the issuer for the keys of a tenant file; raise `refused` if they determine none."""
        if domain and issuer and not self.logout_domain:
            raise refused('conflicts with "issuer"; keep one of the two', key="domain")
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
        """Return the issuer template in metadata and tokens of an issuer that all directories share."""
        parts = urlsplit(issuer).path.split("/")
        shared = next((part for part in self.shared_domains if part in parts), None)
        return None if shared is None else issuer.replace(f"/{shared}/", f"/{PLACEHOLDER}/")

    def logout_template(self, domain: str | None, issuer: str) -> str | None:
        """Return the logout URL with {client_id} and {return_to}, or None for the standard endpoint."""
        host = domain if self.logout_domain else urlsplit(issuer).netloc
        return self.logout_form.replace("{domain}", host) if self.logout_form and host else None

    def uses_userinfo(self, configured: bool | None, *, endpoint_known: bool) -> bool:
        """Whether to request UserInfo: `configured`, otherwise the preset if an endpoint is known."""
        return self.userinfo and endpoint_known if configured is None else configured

    def check_userinfo(self, configured: bool | None, scopes: Sequence[str]) -> None:
        """Refuse `userinfo: true` if the access token is for an API other than UserInfo's.

        Parameters: configured and scopes, from the file. Without a scope that selects an API, the token is
        for UserInfo's.
        """
        if not configured or self.userinfo_api is None:
            return
        if any("/" in scope and not scope.startswith(self.userinfo_api) for scope in scopes):
            raise refused(
                f"needs an access token for {self.userinfo_api}, but scopes request one for another API; "
                f"remove userinfo: ID tokens of {self.title} contain the same claims",
                key="userinfo",
            )

    def _remedy(self, domain: str | None) -> str:
        if domain and self.fixed_issuer:
            return f"does not determine the issuer of {self.title}, which is {self.fixed_issuer}; remove it"
        if domain:
            return f"does not determine the issuer of {self.title}; write issuer: {self.issuer_form}"
        if self.domain_form:
            return (
                f'lacks "domain" or "issuer": write domain: acme.example.com, or issuer: {self.issuer_form}'
            )
        return f'lacks "issuer": write issuer: {self.issuer_form}'

    def _check(self, issuer: str) -> None:
        if self.shared_domains and "consumers" in urlsplit(issuer).path.split("/"):
            raise refused(
                "is not the issuer in tokens of personal accounts; write issuer: "
                f"{self.shared_form.replace('{domain}', PERSONAL_ACCOUNTS)}",
                key="issuer",
            )
        if not issuer.endswith(self.issuer_suffix):
            raise refused(f"must end with {self.issuer_suffix} as in {self.issuer_form}", key="issuer")


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "auth0",
                "Auth0",
                domain_form="https://{domain}/",
                issuer_form="https://acme.eu.auth0.com/",
                issuer_suffix="/",
                logout_form="https://{domain}/v2/logout?client_id={client_id}&returnTo={return_to}",
                # https://auth0.com/docs/secure/tokens/refresh-tokens and, for back-channel logout,
                # https://auth0.com/docs/authenticate/login/logout/back-channel-logout/configure-back-channel-logout
                note=(
                    "Set `audience` to your API; without it, no API accepts Auth0's access tokens. "
                    "For refresh tokens, enable Allow Offline Access in the settings of that API. "
                    "Only Auth0's Enterprise plans include back-channel logout."
                ),
            ),
            Preset(
                "okta",
                "Okta",
                issuer_form="https://acme.okta.com/oauth2/default",
                # An article at support.okta.com: "must be the endpoint invoked for the request"
                assertion_audience=AssertionAudience.ENDPOINT,
                # https://help.okta.com/en-us/Content/topics/security/api-config-claims.htm: claims are not
                # "in the ID token when requested with an access token or authorization code" by default
                userinfo=True,
                note=(
                    "`domain` selects the org authorization server; your own API needs the `issuer` of a "
                    "custom authorization server. Sets `userinfo: true`, since ID tokens contain few claims "
                    "unless a claim is configured as Always."
                ),
            ),
            Preset(
                "entra",
                "Microsoft Entra ID",
                domain_form=None,
                issuer_form="https://login.microsoftonline.com/<directory (tenant) id>/v2.0",
                issuer_suffix="/v2.0",
                shared_domains=("organizations", "common"),
                shared_form="https://login.microsoftonline.com/{domain}/v2.0",
                client_auth=ClientAuth.CLIENT_SECRET_POST,
                accepts_assertions=False,
                # https://learn.microsoft.com/entra/identity-platform/userinfo
                userinfo_api="https://graph.microsoft.com/",
                # https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
                groups_limit=200,
                # https://github.com/nginxinc/nginx-openid-connect/issues/117
                frontchannel_without_issuer=True,
                # learn.microsoft.com/entra/identity-platform/certificate-credentials
                assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
                accepts_certificates=True,
                note=(
                    "Name your API in `scopes`, as `api://<application id>/<scope>`; this excludes "
                    "`userinfo: true`. An application for several directories needs `domain: organizations` "
                    "(or `common`) and `tenant_ids`. Tokens of users in more than 200 groups have no "
                    "`groups`: use app roles, or only groups that are assigned to the application."
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
                accepts_assertions=False,
                note=(
                    "Needs `hosted_domain` or `access`. The preset sends `access_type: offline` and "
                    "`prompt: consent` to get a refresh token."
                ),
            ),
            Preset(
                "keycloak",
                "Keycloak",
                domain_form=None,
                issuer_form="https://login.example.com/realms/<realm>",
                scopes=_PLAIN_SCOPES,
                encrypts_logout_tokens=False,
                note="Refresh tokens do not need `offline_access`; with it, they outlive a logout.",
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
                accepts_assertions=False,
                logout_domain=True,
                note="`domain`, next to `issuer`, is the domain of the sign-in pages; a logout needs it.",
            ),
            Preset(
                "gitlab",
                "GitLab",
                fixed_issuer="https://gitlab.com",
                issuer_form="https://gitlab.com",
                scopes=_PLAIN_SCOPES,
                unknown_scopes=("offline_access",),
                accepts_assertions=False,
                # https://docs.gitlab.com/integration/openid_connect_provider: `groups` is in UserInfo only
                userinfo=True,
                note=(
                    "The default issuer is gitlab.com, which needs `access`. A logout ends only the portal's "
                    "login. Sets `userinfo: true`, since `groups` is not in the ID token."
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
                    "Enable Refresh Token in the settings of the application. Sets `userinfo: true`, since "
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
                    "Any provider that follows OpenID Connect. Providers that apply section 11 of OpenID "
                    "Connect Core strictly, such as npm's `oidc-provider`, issue a refresh token only with "
                    "`authorize_params: {prompt: consent}`. Providers whose ID tokens contain few claims, "
                    "such as LemonLDAP::NG, need `userinfo: true`."
                ),
            ),
        )
    }
)
"""All presets by name."""
