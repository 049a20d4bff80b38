"""What the portal asks of a database.

Rules that hold for every backend:

* An entry whose expiry is at or before `now` is not returned, whether or not it is still stored.
* Each method is atomic towards other processes on the same database.
* A backend that cannot be reached, or that does not get to an operation within two seconds, raises
  `portal.errors.StoreUnavailable`. How many operations wait is bounded; one more is refused at once.
* An entry that cannot be read counts as not there, for its owner alone (see `stored_entries`).
* Times that several processes compare (expiry, leases) are the database's: `time()` says what it is there,
  and `now` below is what it said. A method that changes something for good because of a time (leases,
  `purge`) reads the database's clock itself, at the moment of the change. The clocks of two hosts differ:
  never store or compare a time of one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from portal.stores.model import Login, LoginAttempt, LogoutStep, Session


class Store(Protocol):
    """Login attempts, sessions and logins, shared by any number of portal processes."""

    async def open(self) -> None:
        """Connect and make tables and indexes, idempotently."""

    async def close(self) -> None:
        """Let go of every connection; closing twice is allowed."""

    async def probe(self) -> None:
        """Read and write as calls do, through the same tables and commands, and leave nothing behind.

        Raises StoreUnavailable when calls cannot be served.
        """

    def time(self) -> float:
        """The database's clock now: seconds since the epoch, UTC, to the millisecond.

        As last measured; does not wait and does not fail.
        """

    async def maintain(self) -> None:
        """Measure the database's clock, and make what a server that has taken over lacks.

        Called every few seconds. Raises StoreUnavailable.
        """

    # --- login attempts and logouts under way
    async def add_attempt(self, attempt: LoginAttempt) -> None:
        """Remember a login attempt."""

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        """Remove and return the attempt, once; None unless tenant and binding match and it is live.

        An attempt asked for with another tenant or binding stays, so that a stranger cannot spend it.
        """

    async def add_logout_step(self, step: LogoutStep) -> None:
        """Remember a logout under way at a provider."""

    async def take_logout_step(
        self, step_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LogoutStep | None:
        """Remove and return the step, once; as take_attempt."""

    # --- sessions
    async def add_session(self, session: Session) -> None:
        """Store a new session."""

    async def rotate_session(
        self,
        session_id: str,
        *,
        old_secret_hash: str,
        new_secret_hash: str,
        last_seen_at: float,
        idle_expires_at: float,
    ) -> bool:
        """Swap the session's secret; False when the session is gone or its secret is not the old one."""

    async def touch_session(self, session_id: str, *, last_seen_at: float, idle_expires_at: float) -> None:
        """Move the idle expiry; never makes a deleted session again."""

    async def delete_session(self, session_id: str) -> list[Login]:
        """Delete the session and its logins; return the logins it had."""

    # --- reading, many at once: the hot path of every API call
    async def read(
        self, session_ids: Collection[str], login_ids: Collection[str], *, now: float
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        """Return the live sessions and logins among those asked for, by id."""

    async def list_logins(self, session_id: str, *, now: float) -> list[Login]:
        """The live logins of a session, ordered by tenant."""

    # --- logins
    async def put_login(self, login: Login) -> None:
        """Store a login, in place of any the session had at that tenant."""

    async def swap_login(self, login: Login, *, expected_version: int) -> bool:
        """Replace the stored login when it still has `expected_version`; False when it is gone or moved on.

        `login.version` is the version stored afterwards. Clears nothing by itself: the lease fields of
        `login` are stored as given.
        """

    async def acquire_lease(
        self, login_id: str, *, owner: str, seconds: float, from_owner: str | None = None
    ) -> Login | None:
        """Take the refresh lease when no other owner holds a live one; return the login as it is then.

        The lease runs out `seconds` after the database granted it, by the database's clock. None when another
        owner holds it, or the login is gone or has expired. A lease that ran out without being given back is
        taken from `from_owner` only; from anybody when that is None. Taking the lease adds one to the
        version, so that a swap prepared before it cannot wipe it out.
        """

    async def extend_lease(self, login_id: str, *, owner: str, seconds: float) -> bool:
        """Let the lease of `owner` run out `seconds` from now; adds one to the version as acquire_lease does.

        A lease that has run out is extended too when nobody else has taken it. False when `owner` holds it no
        longer, or the login is gone or has expired.
        """

    async def release_lease(self, login_id: str, *, owner: str) -> None:
        """Give the lease back if `owner` still holds it; adds one to the version as acquire_lease does."""

    async def delete_login(self, session_id: str, tenant: str, *, tokens: str | None = None) -> Login | None:
        """Delete and return the login.

        `tokens`: only when it still has this sealed token set; None: whatever it has. Who deletes a login
        because of what it was when it was read gives them, so that a later sign-in stays.
        """

    async def delete_logins_by_sid(
        self, issuer: str | None, sid: str, *, tenant: str, registration: str
    ) -> list[Login]:
        """Delete and return every login with this stored `sid` that `tenant` has by `registration`.

        `issuer` None: whatever issuer the login's ID token stated.
        Stored is not the provider's session id but a hash of it, see `Vault.stored_sids`.

        Two tenants may share an issuer, and one tenant may be two clients of it: the logins of the other
        stay.
        """

    async def delete_logins_by_subject(
        self, issuer: str, subject: str, *, tenant: str, registration: str, without_sid: bool = False
    ) -> list[Login]:
        """Delete and return every login of `subject`, within the limits of delete_logins_by_sid.

        `without_sid`: only those whose provider session is not known.
        """

    async def delete_logins_of(
        self,
        tenant: str,
        provider: str,
        registration: str,
        *,
        kept_issuers: Collection[str],
        signed_in_until: float,
    ) -> int:
        """Delete the logins made under a registration until then; return how many.

        Those of `kept_issuers` stay.
        """

    # --- things that are good once
    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        """Remember `key` until `expires_at`; False when it is remembered already."""

    async def is_remembered(self, key: str, *, now: float) -> bool:
        """Whether remember_once was told of `key` and it has not expired."""

    # --- what is kept about the database itself
    async def get_meta(self, meta_id: str) -> str | None:
        """Return the value kept under this id, or None."""

    async def put_meta(self, meta_id: str, value: str) -> None:
        """Keep a value under this id, in place of any."""

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        """Replace the value when it is `expected` (None: when there is none); False when it is not."""

    # --- cleaning up
    async def has_logins(self) -> bool:
        """Whether any login is stored, expired ones included."""

    async def forget_sign_ins(self, *, most: int) -> int:
        """Delete up to `most` login attempts, logout steps, logins and sessions; return how many.

        For `portal store restored`. Zero says that there are none left.
        """

    async def purge(self) -> int:
        """Delete what has expired by the database's clock; return how many entries were deleted."""


__all__: Sequence[str] = ("Store",)
