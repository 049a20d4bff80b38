"""The steps from a new tenant to a published one, and the forms of a draft."""

from __future__ import annotations

from portal.admin.check_runs import CheckReport, RunState
from portal.admin.draft_reading import OpenDraft, Review
from portal.admin.problem_words import for_people
from portal.admin.publication import Tested
from portal.display_text import display_text
from portal.sentences import listed, message, moment, sentence
from portal.tenancy.checks.live.model import Status
from portal.tenancy.schema.tenant import ONLY_PROVIDER
from portal.web.admin.check_titles import check_title
from portal.web.admin.draft_views import Link, Step


def provider_links(draft: OpenDraft) -> tuple[Link, ...]:
    """The forms of the providers of a draft."""
    base = f"/admin/t/{draft.slug}/draft/providers"
    return tuple(Link(f"{base}/{id_}", _provider_name(id_)) for id_ in draft.providers)


def form_links(base: str) -> tuple[Link, ...]:
    """The forms of a draft beside those of its providers. Parameters: base, the address of the draft."""
    return (
        Link(f"{base}/general", "General settings"),
        Link(f"{base}/applications", "Applications"),
        Link(f"{base}/apis", "APIs"),
        Link(f"{base}/yaml", "Edit as YAML"),
    )


def _provider_name(id_: str) -> str:
    if id_ == ONLY_PROVIDER:
        return message("The provider")
    return sentence("Provider %(id)s", id=display_text(id_, limit=63))


def _change_label(id_: str) -> str:
    if id_ == ONLY_PROVIDER:
        return message("Change the provider")
    return sentence("Change provider %(id)s", id=display_text(id_, limit=63))


def _test_notes(review: Review) -> tuple[str, ...]:
    """What is missing of the test logins, and when those that failed were made."""
    failed = (one for one in review.providers if one.state is Tested.FAILED and one.failed is not None)
    times = (
        sentence(
            "The test login at %(name)s failed on %(at)s.",
            name=display_text(one.name, limit=100),
            at=moment(one.failed.at, date=True),
        )
        for one in failed
        if one.failed is not None
    )
    return (*review.missing_tests, *times)


def _test_links(review: Review) -> tuple[Link, ...]:
    """To the test, or to what went wrong with it."""
    base = f"/admin/t/{review.draft.slug}/draft"
    again = Link(f"{base}/test", "Test the login")
    for one in review.providers:
        page = f"{base}/test/{one.id}"
        if one.state is Tested.FAILED:
            return Link(page, "See what went wrong"), again
        if one.state is Tested.REFUSED:
            return Link(f"{base}/general", "Change who may sign in"), Link(page, "See the test login")
    return (again,)


def _state_of_checks(checks: CheckReport | None, draft: OpenDraft) -> str:
    """`done` when they found no failure in this version of the draft."""
    if checks is None or checks.state is not RunState.DONE or checks.version != draft.version:
        return "advised"
    return "failed" if checks.count(Status.FAIL) else "done"


def _choice_links(draft: OpenDraft) -> tuple[Link, ...]:
    """Choosing the kind of a provider: for the first time, again, or for a further one."""
    new = f"/admin/t/{draft.slug}/draft/providers/new"
    if not draft.providers:
        return (Link(new, "Choose a provider"),)
    if len(draft.providers) > 1:
        return (Link(new, "Add another provider"),)
    other = Link(f"{new}?instead={draft.providers[0]}", "Choose a different kind")
    return (other, Link(new, "Add a second provider"))


def _failed_checks(checks: CheckReport) -> tuple[str, ...]:
    """Which checks failed."""
    failed = [one for one in checks.results if one.status is Status.FAIL]
    names = dict.fromkeys(check_title(one.check) for one in failed)
    return (sentence("%(count)s failed: %(names)s", count=len(failed), names=listed([*names])),)


def _check_links(draft: OpenDraft, checks: CheckReport | None) -> tuple[Link, ...]:
    """To the results, where there are some, and to begin a run."""
    page = f"/admin/t/{draft.slug}/draft/checks"
    if checks is None:
        return (Link(page, "Run the checks", begins=True),)
    return Link(page, "See the results"), Link(page, "Run the checks again", begins=True)


def steps_of(review: Review, checks: CheckReport | None, *, can_publish: bool) -> tuple[Step, ...]:
    """The steps to a publication, each with its state and what is missing.

    Parameters: checks, the last run of the live checks.
    """
    draft = review.draft
    base = f"/admin/t/{draft.slug}/draft"
    chosen, valid = bool(draft.providers), draft.loaded is not None and not draft.problems
    tested = valid and not review.missing_tests
    checked = _state_of_checks(checks, draft) if valid else "later"
    done = [chosen, valid, tested, False]
    now = done.index(False)
    states = ["done" if one else "now" if index == now else "later" for index, one in enumerate(done)]
    if tested and not review.test:
        states[2] = "idle"
    if valid and not tested and {one.state for one in review.providers} & {Tested.FAILED, Tested.REFUSED}:
        states[2] = "failed"
    elif checked == "failed" and not tested:
        states[2] = "later"
    change = tuple(Link(f"{base}/providers/{id_}", _change_label(id_)) for id_ in draft.providers)
    messages = tuple(for_people(problem) for problem in draft.problems[:5])
    return (
        Step(
            "Choose your provider",
            "The service where your people sign in today, such as Microsoft Entra ID, Okta or Google.",
            states[0],
            links=_choice_links(draft),
        ),
        Step(
            "Enter its values",
            "Register the portal at the provider, then copy its client id and secret into the form. "
            "The form shows each address that you need there.",
            states[1],
            messages if chosen else (),
            (*change, *form_links(base)),
        ),
        Step(
            "Run the checks",
            "The portal asks the provider about each value. It takes a few seconds, and nobody is signed in.",
            checked,
            _failed_checks(checks) if checks is not None and checked == "failed" else (),
            _check_links(draft, checks) if valid else (),
        ),
        Step(
            "Test the login",
            "Sign in with your own account. It changes nothing for your users, and shows what the provider "
            "says about you.",
            states[2],
            _test_notes(review) if valid else (),
            _test_links(review) if valid else (),
        ),
        Step(
            "Publish" if can_publish else "Propose",
            "See what changes, and make it live for everybody."
            if can_publish
            else "See what changes, and ask the people who run this portal to make it live.",
            states[3],
            review.blocking if tested else (),
            (Link(f"{base}/publish", "Review and publish" if can_publish else "Review and propose"),)
            if tested
            else (),
        ),
    )
