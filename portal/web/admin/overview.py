"""The overview of the console: the tenants that the viewer may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from portal.admin.summaries import DraftStage, Summary, status_in_words
from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.oidc.health import Health, HealthState
from portal.sentences import Moment, Wording, message, moment, sentence
from portal.tenancy.secret_notices import Notice, secret_notices
from portal.web.admin.base import AdminHandler
from portal.web.admin.status import removed_in_words
from portal.web.cards import unknown_tenant_card
from portal.web.views import TenantCard

_AT_ONCE = 25
_MOST_PAGES = 100_000
_TONES = {"Live": "good", "Closed to new logins": "warn", "Not published yet": "", "Suspended": "bad"}


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """A tenant in the overview."""

    card: TenantCard
    place: str
    """The name of its file, or `Console`."""
    revision: str
    status: str
    tone: str
    """`good`, `warn`, `bad`, or empty."""
    draft: str
    problems: tuple[str, ...]
    health: tuple[str, ...]
    """What this process knows of its providers that needs attention."""
    notices: tuple[str, ...]
    """Which secrets and certificates expire soon, or have expired."""


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """`GET /admin/`."""

    rows: tuple[OverviewRow, ...]
    operator: bool
    query: str
    total: int
    first: int
    """The number of the first row; 0 without rows."""
    earlier_url: str | None
    later_url: str | None
    notice: str = ""


class OverviewHandler(AdminHandler):
    """`GET /admin/`: operators see all tenants, admins theirs."""

    right = Right.VIEW

    async def get(self) -> None:
        operator = self.viewer.operator
        query = display_text(self.get_query_argument("q", ""), limit=254) if operator else ""
        number = self._page_number() if operator else 1
        skip = (number - 1) * _AT_ONCE
        if operator:
            found = await self.services.summaries.of_all(query, skip=skip, most=_AT_ONCE)
        else:
            found = await self.services.summaries.of_admin(self.viewer.admin_of)
        rows = tuple(self._row(summary) for summary in found.summaries)
        more = operator and found.total > skip + len(rows)
        self.show(
            "admin/overview.html",
            OverviewPage(
                rows=rows,
                operator=operator,
                query=query,
                total=found.total,
                first=skip + 1 if rows else 0,
                earlier_url=_url(query, number - 1) if number > 1 else None,
                later_url=_url(query, number + 1) if more else None,
                notice=removed_in_words(
                    self.get_query_argument("removed", ""), self.get_query_argument("ended", "")
                ),
            ),
        )

    def _page_number(self) -> int:
        text = self.get_query_argument("page", "1")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
        return min(max(number, 1), _MOST_PAGES)

    def _row(self, summary: Summary) -> OverviewRow:
        status = status_in_words(summary)
        record, live = summary.record, summary.live
        of_database = summary.file is None
        return OverviewRow(
            card=self.card(live) if live else unknown_tenant_card(summary.slug, summary.name),
            place=summary.file or message("Console"),
            revision=sentence("Revision %(live)s", live=record.live)
            if of_database and record and record.live
            else "",
            status=status,
            tone=_TONES.get(status, "bad"),
            draft=draft_in_words(summary.draft),
            problems=tuple(Wording(display_text(one, limit=500)) for one in summary.problems[:3]),
            health=self._health(summary),
            notices=notices_in_words(secret_notices(live, self.portal.clock())[:3]) if live else (),
        )

    def _health(self, summary: Summary) -> tuple[str, ...]:
        if summary.live is None:
            return ()
        health = [
            (provider, self.services.health.of(provider)) for provider in summary.live.providers.values()
        ]
        return tuple(
            _of_provider(provider.label or provider.id, health_in_words(one))
            for provider, one in health
            if one.failures
        )


def notices_in_words(notices: Iterable[Notice]) -> tuple[str, ...]:
    """The notices about secrets and certificates as sentences."""
    return tuple(Wording(f"{notice.text[0].upper()}{notice.text[1:]}.") for notice in notices)


def _of_provider(name: str, text: str) -> str:
    return sentence("%(name)s: %(text)s", name=display_text(name, limit=80), text=sentence(text))


def draft_in_words(stage: DraftStage) -> str:
    """How far a draft is, for a label; empty without one."""
    return {DraftStage.WAITING: message("Draft waiting"), DraftStage.PROPOSED: message("Draft proposed")}.get(
        stage, ""
    )


def health_in_words(health: Health) -> str:
    """What the last calls of a provider showed, as the process that makes the page has seen them."""
    if health.state is HealthState.UNKNOWN:
        return message("not asked lately")
    if health.state is HealthState.FINE:
        return sentence("last contact on %(at)s", at=_at(health.last_success))
    if health.state is HealthState.FAILING:
        at = _at(health.last_failure)
        return sentence("the last contact on %(at)s failed: %(reason)s", at=at, reason=health.reason)
    since, reason = _at(health.failing_since), health.reason
    if health.last_success is None:
        return sentence(
            "all calls since %(since)s failed. The last one: %(reason)s", since=since, reason=reason
        )
    return sentence(
        "all calls since %(since)s failed; the last success was on %(at)s. The last error: %(reason)s",
        since=since,
        at=_at(health.last_success),
        reason=reason,
    )


def _at(seconds: float | None) -> Moment:
    return moment(seconds or 0.0, date=True)


def _url(query: str, number: int) -> str:
    parameters = {**({"q": query} if query else {}), **({"page": number} if number > 1 else {})}
    return f"/admin/?{urlencode(parameters)}" if parameters else "/admin/"
