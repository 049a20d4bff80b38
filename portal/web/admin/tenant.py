"""A tenant's page of the console: what it is now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.access.accounts import AccountRule
from portal.access.rules import AccessRules
from portal.admin import content as contents
from portal.admin.summaries import Summary, status_in_words
from portal.admin.tenants import TenantMissing
from portal.admin.viewers import Right
from portal.config.yaml_document import KeyPath
from portal.display_text import display_text
from portal.errors import ConfigurationError
from portal.oidc.provider import Provider
from portal.sentences import Wording, capitalized, message, sentence
from portal.tenancy.model import Tenant
from portal.tenancy.presets import Preset
from portal.tenancy.secret_notices import provider_notices
from portal.web.admin.base import AdminHandler
from portal.web.admin.overview import draft_in_words, health_in_words, notices_in_words
from portal.web.sites import Site

_MOST_NAMES = 50


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """A provider of a tenant."""

    id: str
    title: str
    """The label, else the title of the preset."""
    preset: str
    """Its title, when `title` is the label."""
    issuer: str
    client_id: str
    secret: str
    callback_urls: tuple[str, ...]
    scopes: tuple[str, ...]
    health: str
    failing: bool
    rules: tuple[str, ...]
    """Who may sign in, in words; empty: anyone with an account there."""
    notices: tuple[str, ...]
    """What expires soon, or has expired."""


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What is live of a tenant."""

    providers: tuple[ProviderFacts, ...]
    api_url: str
    apis: tuple[tuple[str, str], ...]
    """Names and base URLs of the further APIs."""
    api_audiences: tuple[str, ...]
    path_rules: tuple[tuple[str, tuple[str, ...]], ...]
    """Paths of the API, each with the rules for it in words."""
    contact: str
    color: str
    logo_url: str
    logo_problem: str
    claims: tuple[tuple[str, str], ...]
    admins: tuple[str, ...]
    hosts: tuple[str, ...]
    email_domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TenantPage:
    """`GET /admin/t/{tenant}/`."""

    slug: str
    name: str
    status: str
    file: str | None
    """The name of the file of a tenant of a file."""
    revision: int
    draft: str
    may_edit: bool
    problems: tuple[str, ...]
    domains: tuple[str, ...]
    """Names whose DNS record is missing."""
    facts: TenantFacts | None
    """None: nothing of it is live."""


class TenantPageHandler(AdminHandler):
    """`GET /admin/t/{tenant}/`: what the tenant is now."""

    right = Right.VIEW

    async def get(self, tenant: str) -> None:
        summary = await self.services.summaries.of_one(tenant, operator=self.viewer.operator)
        if summary is None:
            raise TenantMissing(f"there is no tenant {tenant}")
        secrets = await self._secrets(summary)
        loaded = self.portal.registry.loaded(tenant)
        presets = loaded.presets if loaded is not None else {}
        self.show(
            "admin/tenant.html",
            TenantPage(
                slug=tenant,
                name=display_text(summary.name, limit=120),
                status=status_in_words(summary),
                file=summary.file,
                revision=summary.record.live if summary.record is not None else 0,
                draft=draft_in_words(summary.draft),
                may_edit=summary.file is None and self.viewer.may(Right.DRAFT, tenant),
                problems=tuple(Wording(display_text(one, limit=1_000)) for one in summary.problems),
                domains=tuple(await self.services.domains.in_danger(tenant)) if summary.record else (),
                facts=None if summary.live is None else self._facts(summary.live, presets, secrets),
            ),
        )

    async def _secrets(self, summary: Summary) -> Mapping[KeyPath, str]:
        """How the shown form of the live revision has the secrets; empty for a tenant of a file."""
        record = summary.record
        if summary.file is not None or record is None or record.live == 0:
            return {}
        revision = await self.services.tenants.revision(summary.slug)
        try:
            return await self.services.contents.run(
                summary.slug, contents.shown_secrets, revision.content, summary.slug
            )
        except ConfigurationError:  # of a later version
            return {}

    def _facts(
        self, live: Tenant, presets: Mapping[str, Preset], secrets: Mapping[KeyPath, str]
    ) -> TenantFacts:
        path_rules = [
            (rules.place, tuple(rule.in_words() for rule in rules.require))
            for access in _once(access for one in live.access.values() for access in one)
            for rules in access.paths
        ]
        claims = [(message("Name"), live.claims.name), (message("E-mail address"), live.claims.email)]
        if live.claims.roles:
            claims.append((message("Roles"), live.claims.roles))
        audiences = [
            name
            for provider in live.providers.values()
            for name in (*((provider.audience,) if provider.audience else ()), *provider.resources)
        ]
        return TenantFacts(
            providers=tuple(
                self._provider(live, provider, presets.get(provider.id), secrets)
                for provider in live.providers.values()
            ),
            api_url=live.api.base_url if live.api else "",
            apis=tuple((api.name, api.base_url) for api in live.apis.values()),
            api_audiences=tuple(dict.fromkeys(audiences)),
            path_rules=tuple(path_rules),
            contact=next((text for id_ in live.providers if (text := live.contact(id_))), ""),
            color=live.branding.color or "",
            logo_url=live.branding.logo_url or "",
            logo_problem=display_text(self.portal.logos.problem(live), limit=300),
            claims=tuple(claims),
            admins=tuple(map(_admin_in_words, live.admins)),
            hosts=live.hosts,
            email_domains=live.email_domains[:_MOST_NAMES],
        )

    def _provider(
        self, live: Tenant, provider: Provider, preset: Preset | None, secrets: Mapping[KeyPath, str]
    ) -> ProviderFacts:
        health = self.services.health.of(provider)
        kind = preset.title[:1].upper() + preset.title[1:] if preset is not None else ""
        access = live.access.get(provider.id, ())
        rules: list[str] = [rule.in_words() for one in access for rule in one.require]
        sites = [self.portal.sites.main, *(self.portal.sites.find(host) for host in live.hosts)]
        return ProviderFacts(
            id=provider.id,
            title=display_text(provider.label or kind or provider.id, limit=80),
            preset=kind if provider.label else "",
            issuer=provider.issuer,
            client_id=display_text(provider.client_id, limit=500),
            secret=_secret_in_words(provider, secrets),
            callback_urls=_callback_urls(sites, live, provider.id),
            scopes=provider.scopes,
            health=capitalized(health_in_words(health)),
            failing=health.failures > 0,
            rules=tuple(display_text(rule, limit=500) for rule in rules),
            notices=notices_in_words(provider_notices(provider, self.portal.clock())),
        )


def _callback_urls(sites: Iterable[Site], live: Tenant, provider: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(site.callback_url(live, provider) for site in sites))


def _secret_in_words(provider: Provider, secrets: Mapping[KeyPath, str]) -> str:
    """Whether a secret is set; a tenant of the database also shows the hash that its draft has."""
    if provider.client_secret is None:
        return sentence("None: the client uses %(value)s", value=provider.client_auth.value)
    number = message("Two set") if provider.next_client_secret is not None else message("Set")
    places = (("providers", provider.id, "client", "secret"), ("client", "secret"))
    shown = [hashed for path, hashed in secrets.items() if path[:4] == places[0] or path[:2] == places[1]]
    return (
        sentence("%(number)s, %(hashes)s", number=sentence(number), hashes=", ".join(shown))
        if shown
        else number
    )


def _admin_in_words(admin: AccountRule) -> str:
    text = (
        sentence("%(rule)s (at %(provider)s)", rule=admin.rule.in_words(), provider=admin.provider)
        if admin.provider
        else admin.rule.in_words()
    )
    return text if len(text) <= 500 else display_text(text, limit=500)


def _once(access: Iterable[AccessRules]) -> list[AccessRules]:
    """Each of these once: those of the tenant belong to every provider."""
    found: list[AccessRules] = []
    for one in access:
        if one not in found:
            found.append(one)
    return found
