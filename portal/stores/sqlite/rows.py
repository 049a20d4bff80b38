"""Rows of the SQLite store: columns are the models' `stored_names`, in their order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from portal.stores.argument_checks import require_text
from portal.stores.claims_codec import encode_claims
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.sqlite import statements as sql
from portal.stores.stored_entries import DamagedEntry, entry_from, stored_names

Row = tuple[Any, ...]


def attempt_of(row: Row) -> LoginAttempt:
    return entry_from(LoginAttempt, row)


def logout_of(row: Row) -> LogoutStep:
    return entry_from(LogoutStep, row)


def session_of(row: Row) -> Session:
    return entry_from(Session, row)


def login_of(row: Row) -> Login:
    """A login from a row whose last column is the primary key, which must match the fields."""
    login = entry_from(Login, row[:-1])
    if login.id != row[-1]:
        raise DamagedEntry("id")
    return login


def values_of(entry: LoginAttempt | LogoutStep | Session) -> Row:
    return tuple([getattr(entry, name) for name in stored_names(type(entry))])


def putting(login: Login | None) -> Callable[[sqlite3.Connection], None]:
    """A function that stores a login, if there is one."""
    if login is None:
        return lambda database: None
    require_text(session=login.session, tenant=login.tenant)
    parameters = (login.id, *login_values(login))

    def work(database: sqlite3.Connection) -> None:
        database.execute(sql.PUT_LOGIN, parameters)

    return work


_CLAIMS = tuple(stored_names(Login)).index("claims")


def login_values(login: Login) -> Row:
    values = [getattr(login, name) for name in stored_names(Login)]
    values[_CLAIMS] = encode_claims(login.claims)
    return tuple(values)
