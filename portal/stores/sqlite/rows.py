"""Rows of the SQLite store: columns are the models' `stored_names`, in their order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from portal.stores.argument_checks import require_text
from portal.stores.claims_codec import encode_claims
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.sqlite import statements as sql
from portal.stores.stored_entries import entry_from, stored_names

Row = tuple[Any, ...]


def attempt_of(row: Row) -> LoginAttempt:
    return entry_from(LoginAttempt, row)


def logout_of(row: Row) -> LogoutStep:
    return entry_from(LogoutStep, row)


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
