"""What the page of a publication says about the test logins of a draft."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.actors import actor_of
from portal.admin.draft_reading import Review
from portal.admin.publication import ONE_OF_SEVERAL, Tested, TestedProvider
from portal.display_text import display_text
from portal.sentences import capitalized, message, moment, sentence
from portal.web.admin.events import who_in_words

_TEST_STATES = {
    "good": message("Tested"),
    "missing": message("Missing"),
    "failed": message("Failed"),
    "refused": message("Refused by the rules"),
    "not needed": message("Not needed"),
}


@dataclass(frozen=True, slots=True)
class TestedView:
    """A test login at a provider, for the page of the publication."""

    name: str
    state: str
    """`good`, `missing`, `failed`, `refused` or `not needed`."""
    text: str
    url: str = ""
    """The page of the test login, if there was one."""

    @property
    def words(self) -> str:
        """The state in words."""
        return _TEST_STATES[self.state]


def tested_views(review: Review) -> tuple[TestedView, ...]:
    """The test logins of a draft."""
    return tuple(_tested_view(one, review.draft.slug) for one in review.providers)


def tests_note(review: Review) -> str:
    """What the test logins do not say each by itself."""
    return ONE_OF_SEVERAL if ONE_OF_SEVERAL in review.missing_tests else ""


def _tested_view(one: TestedProvider, slug: str) -> TestedView:
    name, page = display_text(one.name, limit=100), f"/admin/t/{slug}/draft/test/{one.id}"
    if one.test is not None and not one.missing:
        who = who_in_words(actor_of(one.test.actor))
        return TestedView(
            name, "good", sentence("Tested by %(who)s on %(at)s.", who=who, at=moment(one.test.at, date=True))
        )
    if one.failed is not None and one.state is Tested.FAILED:
        when = moment(one.failed.at, date=True)
        return TestedView(
            name,
            "failed",
            sentence("%(when)s: %(title)s.", when=when, title=sentence(one.failed.title)),
            page,
        )
    if one.differs or one.rules_differ:
        url = page if one.test is not None else ""
        return TestedView(name, one.state.value, capitalized(one.missing), url)
    return TestedView(name, "not needed", message("It has not changed."))
