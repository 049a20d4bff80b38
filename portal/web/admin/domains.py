"""The host names and e-mail domains of a tenant in the console: what proves each, and what to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from urllib.parse import urlencode

from portal.admin.domains import CheckedRecently, Domain, DomainState, DomainTaken, DomainUnknown
from portal.admin.viewers import Right
from portal.errors import PortalError
from portal.outbound.txt_records import BESIDE_ALIAS, Finding
from portal.sentences import message, moment, sentence
from portal.web.admin.base import AdminHandler
from portal.web.admin.form import TextField

_NAME_FIELD = TextField(
    name="name",
    label="Domain",
    pattern=r"[a-z0-9.-]{1,253}",
    sentence="Choose one of the domains on this page.",
    longest=253,
)
_KINDS = {
    ("hosts",): message("Host name"),
    ("email_domains",): message("E-mail domain"),
    ("hosts", "email_domains"): message("Host name and e-mail domain"),
}
_LABELS = {
    DomainState.WAITING: message("Waiting for its record"),
    DomainState.PROVEN: message("Proven"),
    DomainState.APPROVED: message("Approved"),
    DomainState.MISSING: message("Record missing"),
    DomainState.LOST: message("Proof lost"),
}
_MOOD = {
    DomainState.PROVEN: "good",
    DomainState.APPROVED: "good",
    DomainState.MISSING: "warn",
    DomainState.LOST: "bad",
}
_IN_ORDER = (
    DomainState.LOST,
    DomainState.MISSING,
    DomainState.WAITING,
    DomainState.PROVEN,
    DomainState.APPROVED,
)
"""What needs somebody's attention comes first."""


@dataclass(frozen=True, slots=True)
class DomainCard:
    """A name, its state, and what can be done."""

    name: str
    kinds: str
    label: str
    mood: str
    """`good`, `warn`, `bad`, or empty."""
    sentence: str
    place: str
    """Where it is stated, when that keeps it from counting."""
    record: str
    """The value of its TXT record; empty when an operator approved it."""
    beside: str
    """Where the record is when the name is an alias."""
    shows_record: bool
    """Whether somebody has to add the record."""
    can_approve: bool
    can_release: bool
    found: str
    """What a check has just found."""
    found_it: bool


@dataclass(frozen=True, slots=True)
class DomainsPage:
    """`GET /admin/t/{tenant}/domains`."""

    slug: str
    domains: tuple[DomainCard, ...]
    lost: int
    """How many no longer count because their record is gone."""
    missing: int
    refusal: str
    """Why what was asked for was not done."""
    edit_url: str


class DomainsHandler(AdminHandler):
    """`GET /admin/t/{tenant}/domains`."""

    right = Right.DOMAINS
    of_database = True

    async def get(self, tenant: str) -> None:
        await self.show_domains(tenant)

    async def show_domains(self, tenant: str, refusal: str = "") -> None:
        """Show the page. Parameters: refusal, sentences for what was not done."""
        found = sorted(
            await self.services.domains.of_tenant(tenant),
            key=lambda domain: (_IN_ORDER.index(domain.state), domain.name),
        )
        states = [domain.state for domain in found]
        page = DomainsPage(
            slug=tenant,
            domains=tuple(self._card(domain) for domain in found),
            lost=states.count(DomainState.LOST),
            missing=states.count(DomainState.MISSING),
            refusal=refusal,
            edit_url=f"/admin/t/{tenant}/draft/general",
        )
        self.show("admin/domains.html", page)

    def _card(self, domain: Domain) -> DomainCard:
        found = self._found(domain)
        open_ = domain.state not in {DomainState.PROVEN, DomainState.APPROVED}
        return DomainCard(
            name=domain.name,
            kinds=_KINDS.get(domain.kinds, message("No longer stated")),
            label=_LABELS[domain.state],
            mood=_MOOD.get(domain.state, ""),
            sentence=_sentence(domain),
            place=_place(domain),
            record="" if domain.state is DomainState.APPROVED else domain.record,
            beside=BESIDE_ALIAS + domain.name,
            shows_record=open_,
            can_approve=self.viewer.operator
            and bool(domain.kinds)
            and domain.state is not DomainState.APPROVED,
            can_release=domain.state is not DomainState.WAITING,
            found=found.sentence(domain.name, is_alias=self._argument("alias") == "1") if found else "",
            found_it=found is Finding.FOUND,
        )

    def _found(self, domain: Domain) -> Finding | None:
        """What the check found that led here; its address is for one domain."""
        if self._argument("checked") != domain.name:
            return None
        try:
            return Finding(self._argument("found"))
        except ValueError:
            return None

    def _argument(self, name: str) -> str:
        values = self.request.query_arguments.get(name, [])
        return values[0].decode("ascii", "replace") if len(values) == 1 else ""


class DomainActHandler(DomainsHandler, ABC):
    """Acts on one domain of a tenant. Subclasses implement `do`."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/admin/t/{tenant}/domains", status=303)

    async def post(self, tenant: str) -> None:
        form = self.read_form([_NAME_FIELD])
        if form.errors:
            self.set_status(422)
            await self.show_domains(tenant, form.errors[_NAME_FIELD.name])
            return
        try:
            query = await self.do(tenant, form[_NAME_FIELD.name])
        except (DomainTaken, DomainUnknown, CheckedRecently) as error:
            self.set_status(error.status)
            await self.show_domains(tenant, self._refusal(error))
            return
        self.redirect(f"/admin/t/{tenant}/domains{query}", status=303)

    @abstractmethod
    async def do(self, tenant: str, name: str) -> str:
        """Do it; return what to add to the address of the page."""

    def _refusal(self, error: PortalError) -> str:
        """An operator is told who has the domain; an admin must not learn it (THREATS T5)."""
        if isinstance(error, DomainTaken) and self.viewer.operator:
            return sentence("It belongs to %(detail)s. Release it there first.", detail=error.detail)
        return f"{error.title}. {error.advice}"


class CheckDomainHandler(DomainActHandler):
    """`POST /admin/t/{tenant}/domains/check`: look for the TXT record now."""

    async def do(self, tenant: str, name: str) -> str:
        search = await self.services.domains.check(tenant, name, self.act())
        query = {"checked": name, "found": search.finding, **({"alias": "1"} if search.is_alias else {})}
        return f"?{urlencode(query)}#{name}"


class ApproveDomainHandler(DomainActHandler):
    """`POST /admin/t/{tenant}/domains/approve`: let a domain count without a record."""

    right = Right.OPERATE

    async def do(self, tenant: str, name: str) -> str:
        await self.services.domains.approve(tenant, name, self.act())
        return f"#{name}"


class ReleaseDomainHandler(DomainActHandler):
    """`POST /admin/t/{tenant}/domains/release`: give a domain up."""

    async def do(self, tenant: str, name: str) -> str:
        await self.services.domains.release(tenant, name, self.act())
        return ""


def _sentence(domain: Domain) -> str:
    at = moment(domain.checked_at, date=True)
    return {
        DomainState.WAITING: message("It counts when its TXT record is found."),
        DomainState.PROVEN: sentence(
            "Its TXT record was last seen on %(at)s. Keep it: it is checked every day.", at=at
        ),
        DomainState.APPROVED: sentence("An operator approved it on %(at)s. It needs no record.", at=at),
        DomainState.MISSING: (
            sentence(
                "Its TXT record is missing since %(at)s. Unless it returns, this domain stops counting on "
                "%(counts_until)s.",
                at=at,
                counts_until=moment(domain.counts_until, date=True),
            )
        ),
        DomainState.LOST: (
            sentence(
                "Its TXT record was missing for three days. Since %(at)s this domain does not count, and "
                "another organisation can prove it.",
                at=at,
            )
        ),
    }[domain.state]


def _place(domain: Domain) -> str:
    if not domain.kinds:
        return message("Neither the live revision nor the draft states it.")
    return (
        "" if domain.in_live else message("Only the draft states it: it counts when the draft is published.")
    )
