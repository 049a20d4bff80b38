"""The live checks of a draft: its providers and API are asked, as by `portal tenant check --live`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from portal.admin.check_runs import CheckReport, ChecksRefused, RunState
from portal.admin.draft_reading import OpenDraft
from portal.sentences import message, moment, plural_sentence, sentence
from portal.tenancy.checks.live.model import CheckResult, Context, Status
from portal.tenancy.checks.preset_guide import guide_of
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.presets.pages import preset_urls
from portal.web.admin.check_titles import check_title
from portal.web.admin.draft_forms import DraftFormHandler, version_text

_WORDS = {
    Status.FAIL: (message("failed"), message("Failed")),
    Status.WARN: (message("to look at"), message("To look at")),
    Status.PASS: (message("in order"), message("In order")),
    Status.SKIPPED: (message("not possible here"), message("Not possible here")),
}
"""How the verdicts are called, in counts and beside a result; the most important first."""


@dataclass(frozen=True, slots=True)
class CheckGroup:
    """The results of a provider, or of the API."""

    title: str
    results: tuple[CheckResult, ...]
    waiting: tuple[CheckResult, ...] = ()
    """Those that were not possible, if something else failed."""
    form_url: str = ""
    """The form with the values, if one of them may be wrong."""

    @property
    def waiting_text(self) -> str:
        """How many wait for what."""
        failed = sum(one.status is Status.FAIL for one in self.results)
        if failed == 1:
            return plural_sentence(
                "%(count)s more check could not be made; most wait for this one",
                "%(count)s more checks could not be made; most wait for this one",
                len(self.waiting),
            )
        return plural_sentence(
            "%(count)s more check could not be made; most wait for these",
            "%(count)s more checks could not be made; most wait for these",
            len(self.waiting),
        )


@dataclass(frozen=True, slots=True)
class ChecksPage:
    """`GET /admin/t/{tenant}/draft/checks`."""

    slug: str
    valid: bool
    """Whether the draft can be checked."""
    problems: int
    running: bool = False
    interrupted: bool = False
    outdated: bool = False
    """Whether the draft has changed since."""
    began_text: str = ""
    groups: tuple[CheckGroup, ...] = ()
    counts: tuple[tuple[str, int, str], ...] = ()
    """Verdict, how many, and the word for them."""
    notice: str = ""

    @property
    def done(self) -> bool:
        return bool(self.began_text) and not self.running and not self.interrupted

    def word(self, status: Status) -> str:
        """How a verdict is called beside a result."""
        return _WORDS[status][1]

    def title(self, check: str) -> str:
        """The name of a check for people."""
        return check_title(check)

    @property
    def failed(self) -> bool:
        return any(status == Status.FAIL for status, _, _ in self.counts)


class ChecksHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/checks`: shows results, and begins a run."""

    async def get(self, tenant: str) -> None:
        draft = await self.open_draft(tenant)
        report = await self.services.checks.report(tenant, made_at=draft.tenant.created_at)
        self.show("admin/checks.html", self._page(draft, report))

    async def post(self, tenant: str) -> None:
        draft = await self.open_draft(tenant)
        if draft.loaded is None:
            self.redirect(self.request.path, status=303)
            return
        try:
            contexts, made_at = self._contexts(draft.loaded), draft.tenant.created_at
            await self.services.checks.begin(tenant, contexts, version=draft.version, made_at=made_at)
        except ChecksRefused as error:
            self.set_status(error.status)
            self.set_header("Retry-After", str(error.retry_after))
            report = await self.services.checks.report(tenant, made_at=draft.tenant.created_at)
            notice = sentence(
                "The checks cannot begin yet. Try again in %(retry_after)s seconds.",
                retry_after=error.retry_after,
            )
            self.show("admin/checks.html", self._page(draft, report, notice))
        else:
            self.redirect(self.request.path, status=303)

    def _contexts(self, loaded: LoadedTenant) -> list[Context]:
        """What the checks of each provider need."""
        tenant, sites = loaded.tenant, self.portal.sites
        live = self.portal.registry.get(tenant.slug)
        own = [sites.find(host) for host in (live.hosts if live is not None else ())]
        several = len(tenant.providers) > 1
        return [
            Context(
                tenant=tenant,
                provider=provider,
                http=self.portal.http,
                redirect_uris=[site.callback_url(tenant, id_) for site in (sites.main, *own)],
                clock=self.portal.clock,
                client_keys=self.portal.client_keys,
                guide=guide_of(
                    loaded.presets[id_],
                    preset_urls(sites.main.origin, tenant.slug, id_ if several else None),
                ),
            )
            for id_, provider in tenant.providers.items()
        ]

    def _page(self, draft: OpenDraft, report: CheckReport | None, notice: str = "") -> ChecksPage:
        valid, problems = draft.loaded is not None, len(draft.problems)
        if report is None:
            return ChecksPage(draft.slug, valid, problems, notice=notice)
        version = "" if report.version is None else str(report.version)
        return ChecksPage(
            slug=draft.slug,
            valid=valid,
            problems=problems,
            running=report.state is RunState.RUNNING,
            interrupted=report.state is RunState.INTERRUPTED,
            outdated=version != version_text(draft),
            began_text=moment(report.began_at),
            groups=_groups(report, f"/admin/t/{draft.slug}/draft/providers"),
            counts=tuple(
                (status.value, count, words[0])
                for status, words in _WORDS.items()
                if (count := report.count(status))
            ),
            notice=notice,
        )


def _groups(report: CheckReport, forms: str) -> tuple[CheckGroup, ...]:
    importance = [*_WORDS]
    ordered = sorted(
        report.results,
        key=lambda one: (one.provider is None, one.provider or "", importance.index(one.status)),
    )
    several = len({one.provider for one in ordered if one.provider is not None}) > 1
    return tuple(
        _group(
            _title(provider, several=several),
            tuple(results),
            "" if provider is None else f"{forms}/{provider}",
        )
        for provider, results in groupby(ordered, key=lambda one: one.provider)
    )


def _group(title: str, results: tuple[CheckResult, ...], form_url: str) -> CheckGroup:
    if not any(one.status is Status.FAIL for one in results):
        return CheckGroup(title, results)
    return CheckGroup(
        title,
        tuple(one for one in results if one.status is not Status.SKIPPED),
        tuple(one for one in results if one.status is Status.SKIPPED),
        form_url,
    )


def _title(provider: str | None, *, several: bool) -> str:
    if provider is None:
        return "API"
    return sentence("Provider %(provider)s", provider=provider) if several else message("Provider")
