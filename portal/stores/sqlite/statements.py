"""The SQL statements of the SQLite store. Columns are the models' `stored_names`, in their order."""

# ruff: noqa: S608 - statements contain names of the models' fields, never values

from __future__ import annotations

from dataclasses import fields

from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.sqlite.tenant_statements import EVENT_DELIVERY_SCHEMA, TENANT_SCHEMA, USER_EVENTS_SCHEMA
from portal.stores.stored_entries import stored_names

_FIRST = (
    """CREATE TABLE attempts (
        id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, provider TEXT NOT NULL,
        registration TEXT NOT NULL, binding_hash TEXT NOT NULL, nonce TEXT NOT NULL,
        code_verifier TEXT NOT NULL, redirect_uri TEXT NOT NULL, return_to TEXT NOT NULL,
        expires_at REAL NOT NULL)""",
    "CREATE INDEX attempts_expiry ON attempts (expires_at)",
    """CREATE TABLE logouts (
        id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, binding_hash TEXT NOT NULL,
        next_url TEXT NOT NULL, expires_at REAL NOT NULL)""",
    "CREATE INDEX logouts_expiry ON logouts (expires_at)",
    """CREATE TABLE sessions (
        id TEXT PRIMARY KEY NOT NULL, secret_hash TEXT NOT NULL, created_at REAL NOT NULL,
        last_seen_at REAL NOT NULL, idle_expires_at REAL NOT NULL, absolute_expires_at REAL NOT NULL,
        device TEXT NOT NULL)""",
    "CREATE UNIQUE INDEX sessions_secret ON sessions (secret_hash)",
    "CREATE INDEX sessions_expiry ON sessions (min(idle_expires_at, absolute_expires_at))",
    """CREATE TABLE logins (
        id TEXT PRIMARY KEY NOT NULL, session TEXT NOT NULL, tenant TEXT NOT NULL, provider TEXT NOT NULL,
        registration TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, sid TEXT,
        claims TEXT NOT NULL, tokens TEXT NOT NULL, access_expires_at REAL NOT NULL,
        signed_in_at REAL NOT NULL, expires_at REAL NOT NULL, version INTEGER NOT NULL,
        lease_owner TEXT, lease_expires_at REAL NOT NULL)""",
    "CREATE INDEX logins_session ON logins (session, tenant)",
    "CREATE INDEX logins_sid ON logins (issuer, sid)",
    "CREATE INDEX logins_subject ON logins (issuer, subject)",
    "CREATE INDEX logins_expiry ON logins (expires_at)",
)
_SECOND = (
    "CREATE TABLE once (id TEXT PRIMARY KEY NOT NULL, expires_at REAL NOT NULL)",
    "CREATE INDEX once_expiry ON once (expires_at)",
)
_THIRD = ("CREATE TABLE meta (id TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)",)
_FOURTH = (
    "DROP INDEX logins_sid",
    "CREATE INDEX logins_sid ON logins (sid)",  # queried with and without an issuer
)
SCHEMAS = (_FIRST, _SECOND, _THIRD, _FOURTH, TENANT_SCHEMA, USER_EVENTS_SCHEMA, EVENT_DELIVERY_SCHEMA)
"""The statements that migrate a file from each version to the next; the first begins with an empty file."""


def columns_of(model: type, prefix: str = "") -> str:
    """The columns of a model. Parameters: prefix, the name of its table in the statement, with a dot."""
    return ", ".join(f"{prefix}{name}" for name in stored_names(model).values())


def _slots(model: type, *, extra: int = 0) -> str:
    return ", ".join("?" * (len(fields(model)) + extra))


_ATTEMPT, _LOGOUT, _SESSION, _LOGIN = (columns_of(m) for m in (LoginAttempt, LogoutStep, Session, Login))
_LOGIN_ROW = f"{_LOGIN}, id"

ADD_ATTEMPT = f"INSERT INTO attempts ({_ATTEMPT}) VALUES ({_slots(LoginAttempt)})"
TAKE_ATTEMPT = f"""DELETE FROM attempts
    WHERE id = ? AND tenant = ? AND binding_hash = ? AND expires_at > ? RETURNING {_ATTEMPT}"""
ADD_LOGOUT = f"INSERT INTO logouts ({_LOGOUT}) VALUES ({_slots(LogoutStep)})"
TAKE_LOGOUT = f"""DELETE FROM logouts
    WHERE id = ? AND tenant = ? AND binding_hash = ? AND expires_at > ? RETURNING {_LOGOUT}"""
ADD_SESSION = f"INSERT INTO sessions ({_SESSION}) VALUES ({_slots(Session)})"
ROTATE_SESSION = """UPDATE sessions SET secret_hash = :new, last_seen_at = :seen, idle_expires_at = :idle
    WHERE id = :id AND secret_hash = :old AND min(idle_expires_at, absolute_expires_at) > :seen"""
TOUCH_SESSION = """UPDATE sessions SET last_seen_at = ?2, idle_expires_at = ?3
    WHERE id = ?1 AND last_seen_at <= ?2 AND min(idle_expires_at, absolute_expires_at) > ?2"""
"""Its parameters are those of a SessionTouch."""
READ_SESSIONS = f"SELECT {_SESSION} FROM sessions WHERE id IN (SELECT value FROM json_each(?))"
READ_LOGINS = f"SELECT {_LOGIN_ROW} FROM logins WHERE id IN (SELECT value FROM json_each(?))"
READ_TENANTS = """SELECT session, json_group_array(CAST(tenant AS TEXT)) FROM logins
    WHERE session IN (SELECT value FROM json_each(?)) GROUP BY session"""
"""At which tenants sessions have logins; reads only the index."""
PUT_LOGIN = f"INSERT OR REPLACE INTO logins (id, {_LOGIN}) VALUES ({_slots(Login, extra=1)})"
SWAP_LOGIN = f"UPDATE logins SET ({_LOGIN}) = ({_slots(Login)}) WHERE id = ? AND version = ?"
ACQUIRE_LEASE = f"""UPDATE logins SET lease_owner = :owner, lease_expires_at = :until, version = version + 1
    WHERE id = :id AND expires_at > :now
      AND (lease_owner IS NULL OR lease_owner = :owner
        OR (lease_expires_at <= :now AND (:from_owner IS NULL OR lease_owner = :from_owner)))
    RETURNING {_LOGIN_ROW}"""
EXTEND_LEASE = """UPDATE logins SET lease_expires_at = :until, version = version + 1
    WHERE id = :id AND expires_at > :now AND lease_owner = :owner"""
RELEASE_LEASE = """UPDATE logins SET lease_owner = NULL, lease_expires_at = 0, version = version + 1
    WHERE id = ? AND lease_owner = ?"""
DELETE_LOGINS = f"DELETE FROM logins WHERE {{}} RETURNING {_LOGIN_ROW}"
THIS_LOGIN = "id = :id AND (:tokens IS NULL OR tokens = :tokens)"
OF_PROVIDER = "tenant = :tenant AND registration = :registration AND issuer = :issuer"
OF_PROVIDER_SESSION = """sid = :sid AND tenant = :tenant AND registration = :registration
    AND (:issuer IS NULL OR issuer = :issuer)"""
DELETE_LOGINS_OF = """DELETE FROM logins
    WHERE tenant = :tenant AND provider = :provider AND registration = :registration
      AND signed_in_at <= :until AND issuer NOT IN (SELECT value FROM json_each(:kept))"""
REMEMBER_ONCE = """INSERT INTO once (id, expires_at) VALUES (:id, :expires_at)
    ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE once.expires_at <= :now"""
IS_REMEMBERED = "SELECT 1 FROM once WHERE id = ? AND expires_at > ?"
READ_META = "SELECT value FROM meta WHERE id = ?"
PUT_META = "INSERT OR REPLACE INTO meta (id, value) VALUES (?, ?)"
ADD_META = "INSERT OR IGNORE INTO meta (id, value) VALUES (:id, :value)"
SWAP_META = "UPDATE meta SET value = :value WHERE id = :id AND value = :expected"
SIGN_INS = ("attempts", "logouts", "logins", "sessions", "setup_links")
"""Tables with sign-ins, in all states from login attempt to logout, and with credentials of other kinds."""
DELETE_SOME = "DELETE FROM {0} WHERE rowid IN (SELECT rowid FROM {0} LIMIT ?)"
_EXPIRED = "DELETE FROM {0} WHERE rowid IN (SELECT rowid FROM {0} WHERE {1} <= ? LIMIT ?)"
PURGE = tuple(_EXPIRED.format(table, "expires_at") for table in ("attempts", "logouts", "once"))
PURGE_SIGN_INS = (
    _EXPIRED.format("logins", "expires_at"),
    _EXPIRED.format("sessions", "min(idle_expires_at, absolute_expires_at)"),
)
