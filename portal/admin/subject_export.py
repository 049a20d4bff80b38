"""What is stored of a person, as JSON for that person (GDPR articles 15 and 20).

Tokens, cookies, and hashes of them are never part of it. What others wrote about the person is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from portal.admin.actors import actor_of
from portal.admin.draft_state import TestResult
from portal.admin.event_json import event_fields, rfc3339
from portal.admin.subjects import FoundDraft, FoundLogin, StoredOfPerson
from portal.stores.tenant_records import Revision, SetupLink

NOT_INCLUDED = (
    "the tokens of logins, which are encrypted and of use to the portal only",
    "login attempts that are not finished: they have no account yet, and last ten minutes",
    "lines of the log, backups, and events that were delivered to other systems",
)


def export_text(found: StoredOfPerson, *, at: float) -> str:
    """The JSON, in ASCII: nothing in it can control a terminal. Parameters: at, seconds, UTC."""
    document = {
        "tenant": found.person.tenant,
        "subject": found.person.subject,
        "issuers": sorted(found.issuers),
        "exported_at": rfc3339(at),
        "logins": [_login(one) for one in found.logins],
        "events": [event_fields(event) for event in sorted(found.events, key=lambda event: event.id)],
        "revisions": [_revision(one) for one in found.revisions],
        "drafts": [_draft(one) for one in found.drafts],
        "setup_links": [_link(one) for one in found.links],
        "not_included": NOT_INCLUDED,
    }
    return json.dumps(document, indent=2)


def _login(found: FoundLogin) -> Mapping[str, object]:
    login, session = found.login, found.session
    return {
        "provider": login.provider,
        "issuer": login.issuer,
        "claims": dict(login.claims),
        "signed_in_at": rfc3339(login.signed_in_at),
        "expires_at": rfc3339(login.expires_at),
        "session": login.session,
        "session_began_at": rfc3339(session.created_at) if session else None,
        "last_used_at": rfc3339(session.last_seen_at) if session else None,
        "device": session.device if session else None,
    }


def _revision(revision: Revision) -> Mapping[str, object]:
    return {
        "tenant": revision.tenant,
        "number": revision.number,
        "published_at": rfc3339(revision.published_at),
        "author": asdict(actor_of(revision.author)),
        "reason": revision.reason,
        "test": json.loads(revision.test or "{}"),
    }


def _draft(found: FoundDraft) -> Mapping[str, object]:
    return {
        "tenant": found.draft.tenant,
        "changed_at": rfc3339(found.draft.changed_at),
        "author": asdict(actor_of(found.draft.author)),
        "test_logins": {id_: _test(test) for id_, test in found.tests.items()},
    }


def _test(test: TestResult) -> Mapping[str, object]:
    return {
        "at": rfc3339(test.at),
        "actor": asdict(actor_of(test.actor)),
        "issuer": test.issuer,
        "subject": test.subject,
        "claims": dict(test.claims),
    }


def _link(link: SetupLink) -> Mapping[str, object]:
    return {
        "tenant": link.tenant,
        "id": link.id,
        "name": link.name,
        "author": asdict(actor_of(link.author)),
        "created_at": rfc3339(link.created_at),
        "expires_at": rfc3339(link.expires_at),
    }
