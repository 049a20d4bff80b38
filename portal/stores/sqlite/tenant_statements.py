"""The SQL statements of `SQLiteTenants`. Columns are the records' fields, in their order."""

# ruff: noqa: S608 - statements contain names of the records' fields, never values

from __future__ import annotations

from portal.stores.stored_entries import stored_names
from portal.stores.tenant_records import (
    NAMING,
    USER_KINDS,
    DomainClaim,
    Draft,
    Event,
    Revision,
    SetupLink,
    TenantRecord,
)

TENANT_SCHEMA = (
    """CREATE TABLE tenants (
        slug TEXT PRIMARY KEY NOT NULL, status TEXT NOT NULL, live INTEGER NOT NULL, created_at REAL NOT NULL,
        changed_at REAL NOT NULL)""",
    """CREATE TABLE revisions (
        tenant TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, format INTEGER NOT NULL,
        author TEXT NOT NULL, reason TEXT NOT NULL, test TEXT NOT NULL, published_at REAL NOT NULL,
        PRIMARY KEY (tenant, number))""",
    """CREATE TABLE drafts (
        tenant TEXT PRIMARY KEY NOT NULL, content TEXT NOT NULL, format INTEGER NOT NULL,
        version INTEGER NOT NULL, based_on INTEGER NOT NULL, author TEXT NOT NULL, test TEXT NOT NULL,
        changed_at REAL NOT NULL)""",
    """CREATE TABLE setup_links (
        id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, token_hash TEXT NOT NULL, name TEXT NOT NULL,
        author TEXT NOT NULL, browser_hash TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
        revoked_at REAL NOT NULL)""",
    "CREATE UNIQUE INDEX setup_links_token ON setup_links (token_hash)",
    "CREATE INDEX setup_links_tenant ON setup_links (tenant, created_at, id)",
    """CREATE TABLE domains (
        name TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL, token TEXT NOT NULL,
        proof TEXT NOT NULL, proven_at REAL NOT NULL, checked_at REAL NOT NULL, created_at REAL NOT NULL)""",
    "CREATE INDEX domains_tenant ON domains (tenant, name)",
    """CREATE TABLE events (
        id TEXT PRIMARY KEY NOT NULL, at REAL NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL,
        outcome TEXT NOT NULL, actor TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL,
        request_id TEXT NOT NULL, client TEXT NOT NULL, device TEXT NOT NULL)""",
    "CREATE INDEX events_tenant ON events (tenant, id)",
    "CREATE INDEX logins_tenant ON logins (tenant, signed_in_at, id)",
)
"""Migrates a file of the version before the tenants."""
_USER_KINDS = ", ".join(f"'{kind}'" for kind in USER_KINDS)
ACTS = f"kind NOT IN ({_USER_KINDS})"
"""The condition for acts on tenants, and of their indexes: sign-ins are many more."""
OF_USERS = f"kind IN ({_USER_KINDS})"
USER_EVENTS_SCHEMA = (
    "DROP INDEX events_tenant",
    f"CREATE INDEX events_acts ON events (tenant, id) WHERE {ACTS}",
    f"CREATE INDEX events_all_acts ON events (id) WHERE {ACTS}",
    f"CREATE INDEX events_user ON events (tenant, actor, id) WHERE {OF_USERS}",
)
"""Migrates a file of the version before the events of users."""

EVENT_DELIVERY_SCHEMA = (
    "ALTER TABLE events ADD COLUMN waits INTEGER NOT NULL DEFAULT 1",
    "CREATE INDEX events_waiting ON events (id) WHERE waits = 1",
    "CREATE INDEX events_tenant ON events (tenant, id)",
)
"""Migrates a file of the version before events were delivered.

`waits`: 0 after the delivery, 2 when it was set aside.
"""


def _columns(model: type) -> str:
    return ", ".join(stored_names(model))


def _named(model: type) -> str:
    return ", ".join(f":{name}" for name in stored_names(model))


_TENANT, _REVISION, _DRAFT, _LINK, _DOMAIN, _EVENT = (
    _columns(model) for model in (TenantRecord, Revision, Draft, SetupLink, DomainClaim, Event)
)
_MADE_THEN = "(:made_at IS NULL OR created_at = :made_at)"
_HAS_TENANT = f"EXISTS (SELECT 1 FROM tenants WHERE slug = :tenant AND {_MADE_THEN})"
_OF_A_TENANT = f"WHERE {_HAS_TENANT}"

READ_VERSION = "SELECT CAST(value AS INTEGER) FROM meta WHERE id = 'tenants_version'"
INCREMENT_VERSION = """INSERT INTO meta (id, value) VALUES ('tenants_version', '1')
    ON CONFLICT (id) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""

LIST_TENANTS = f"SELECT {_TENANT} FROM tenants ORDER BY slug"
GET_TENANT = f"SELECT {_TENANT} FROM tenants WHERE slug = ?"
ADD_TENANT = f"INSERT OR IGNORE INTO tenants ({_TENANT}) VALUES ({_named(TenantRecord)})"
SET_STATUS = """UPDATE tenants SET status = :status, changed_at = :at
    WHERE slug = :slug AND status = :expected"""
REMOVE_TENANT = "DELETE FROM tenants WHERE slug = ?"
REMOVE_REST = tuple(
    f"DELETE FROM {table} WHERE tenant = ?" for table in ("revisions", "drafts", "setup_links", "domains")
)
MAKE_LIVE = f"""UPDATE tenants SET live = :number, changed_at = :published_at
    WHERE slug = :tenant AND live = :replaces AND {_MADE_THEN}"""
ADD_REVISION = f"INSERT INTO revisions ({_REVISION}) VALUES ({_named(Revision)})"
DROP_EARLY_REVISIONS = "DELETE FROM revisions WHERE tenant = ? AND number <= ?"
GET_REVISION = f"SELECT {_REVISION} FROM revisions WHERE tenant = ? AND number = ?"
LIST_REVISIONS = f"""SELECT {_REVISION} FROM revisions WHERE tenant = :tenant AND number < :before
    ORDER BY number DESC LIMIT :most"""

GET_DRAFT = f"SELECT {_DRAFT} FROM drafts WHERE tenant = ?"
ADD_DRAFT = f"INSERT OR IGNORE INTO drafts ({_DRAFT}) SELECT {_named(Draft)} {_OF_A_TENANT}"
SWAP_DRAFT = f"""UPDATE drafts SET ({_DRAFT}) = ({_named(Draft)})
    WHERE tenant = :tenant AND version = :replaces AND {_HAS_TENANT}"""
DELETE_DRAFT = "DELETE FROM drafts WHERE tenant = ? AND version = ?"

ADD_LINK = f"INSERT OR IGNORE INTO setup_links ({_LINK}) SELECT {_named(SetupLink)} {_OF_A_TENANT}"
DROP_OLDEST_LINKS = """DELETE FROM setup_links WHERE rowid IN (SELECT rowid FROM setup_links WHERE tenant = ?
    ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?)"""
FIND_LINK = f"SELECT {_LINK} FROM setup_links WHERE token_hash = ?"
BIND_LINK = """UPDATE setup_links SET browser_hash = :browser_hash
    WHERE token_hash = :token_hash AND browser_hash = '' AND revoked_at = 0 AND expires_at > :now"""
LIST_LINKS = f"SELECT {_LINK} FROM setup_links WHERE tenant = ? ORDER BY created_at DESC, id DESC"
REVOKE_LINK = "UPDATE setup_links SET revoked_at = :at WHERE id = :id AND tenant = :tenant AND revoked_at = 0"

LIST_DOMAINS = f"SELECT {_DOMAIN} FROM domains ORDER BY name"
LIST_DOMAINS_OF = f"SELECT {_DOMAIN} FROM domains WHERE tenant = ? ORDER BY name"
ADD_DOMAIN = f"INSERT OR IGNORE INTO domains ({_DOMAIN}) SELECT {_named(DomainClaim)} {_OF_A_TENANT}"
PROVE_DOMAIN = """UPDATE domains SET proof = :proof, proven_at = :proven_at, checked_at = :checked_at
    WHERE name = :name AND tenant = :tenant"""
NOTE_CHECK = "UPDATE domains SET checked_at = :checked_at WHERE name = :name AND tenant = :tenant"
DELETE_DOMAIN = "DELETE FROM domains WHERE name = :name AND tenant = :tenant"
IF_UNPROVEN = " AND proven_at = 0"
IF_UNCHANGED = """ AND proof = :old_proof AND proven_at = :old_proven_at
    AND checked_at = :old_checked_at AND created_at = :old_created_at"""

ADD_EVENT = f"INSERT OR IGNORE INTO events ({_EVENT}) VALUES ({_named(Event)})"
LIST_EVENTS = f"""SELECT {_EVENT} FROM events INDEXED BY {{index}} WHERE {{conditions}}
    ORDER BY id DESC LIMIT :most"""
ACTS_OF_TENANT, ALL_ACTS = "events_acts", "events_all_acts"
"""Indexes of `LIST_EVENTS`: SQLite would choose that with the sign-ins."""
LIST_USER_EVENTS = f"""SELECT {_EVENT} FROM events
    WHERE {OF_USERS} AND tenant = :tenant AND actor = :actor AND id >= :since
    ORDER BY id DESC LIMIT :most"""
READ_EVENTS = f"""SELECT {_EVENT} FROM events WHERE id > :after AND id < :before {{of_tenant}}
    ORDER BY id LIMIT :most"""
WAITING_EVENTS = f"SELECT {_EVENT} FROM events WHERE waits = 1 AND id > ? ORDER BY id LIMIT ?"
SEARCH_EVENTS = f"""SELECT {_EVENT} FROM (
        SELECT * FROM events {{index}} WHERE {{conditions}} ORDER BY id DESC LIMIT :among)
    WHERE (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
      AND (:outcome = '' OR outcome = :outcome)
      AND (:subject = '' OR target = :subject OR instr(actor, :actor) > 0)
    LIMIT :most"""
LAST_SEARCHED = "SELECT id FROM events {index} WHERE {conditions} ORDER BY id DESC LIMIT 1 OFFSET :last"
INDEXES = {
    (True, True): f"INDEXED BY {ACTS_OF_TENANT}",
    (True, False): "INDEXED BY events_tenant",
    (False, True): f"INDEXED BY {ALL_ACTS}",
    (False, False): "",
}
"""Of `SEARCH_EVENTS`: by whether it is of a tenant, and whether it is for acts only."""
SET_ASIDE = "UPDATE events SET waits = 2 WHERE id = ? AND waits = 1"
WAIT_AGAIN = "UPDATE events SET waits = 1 WHERE id = ? AND waits = 2"
LIST_SET_ASIDE = f"SELECT {_EVENT} FROM events WHERE waits = 2 AND id > :after ORDER BY id LIMIT :most"
IDS_SET_ASIDE = "SELECT id FROM events WHERE waits = 2 ORDER BY id LIMIT ?"
MARK_DELIVERED = "UPDATE events SET waits = 0 WHERE id = ?"
PURGE_EVENTS = "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE id < ? ORDER BY id LIMIT ?)"


def _replacing(table: str, model: type, condition: str) -> str:
    values = ", ".join(f"{name} = :{name}" for name in NAMING[model])
    return f"UPDATE {table} SET {values} WHERE {condition}"


REPLACE_NAMED = {
    Event: _replacing("events", Event, "id = :id"),
    Revision: _replacing("revisions", Revision, "tenant = :tenant AND number = :number"),
    Draft: _replacing("drafts", Draft, "tenant = :tenant AND version = :version"),
    SetupLink: _replacing("setup_links", SetupLink, "id = :id AND tenant = :tenant"),
}
