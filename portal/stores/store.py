"""The interface of the portal's databases.

Rules that hold for every backend:

* An entry whose expiry is at or before `now` is not returned, even if it is still stored.
* Each method is atomic with respect to other processes on the same database.
* A backend that is unreachable, or does not begin an operation within two seconds, raises
  `portal.errors.StoreUnavailable`. The number of waiting operations is limited; more are refused at once.
* An entry that cannot be read counts as missing; other entries are not affected (see `stored_entries`).
* Times that several processes compare (expiry, leases) are by the database's clock: `time()` returns it, and
  `now` below is a result of `time()`. A method that makes a permanent change because of a time (leases,
  `purge`) reads the database's clock itself, at the time of the change. The clocks of two hosts differ:
  never store or compare a host's time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from portal.stores.model import Login, LoginAttempt, LogoutStep, Session, SessionTouch


class Store(Protocol):
    """Login attempts, sessions and logins, shared by any number of portal processes."""

    async def open(self) -> None:
        """Connect, and create missing tables and indexes."""

    async def close(self) -> None:
        """Close every connection; closing twice is allowed."""

    async def probe(self) -> None:
        """Read and write with the same tables and commands as API calls do, without lasting effect.

        Raises StoreUnavailable when calls cannot be served.
        """

    def time(self) -> float:
        """The time of the database's clock: seconds since the epoch, UTC, to the millisecond.

        Computed from the last measurement; does no I/O and never fails.
        """

    async def maintain(self) -> None:
        """Measure the database's clock, and create missing indexes after a failover.

        Called every few seconds. Raises StoreUnavailable.
        """

    # --- login attempts and logout steps
    async def add_attempt(self, attempt: LoginAttempt) -> None:
        """Store a login attempt. It may be lost in a power failure: the user then starts again."""

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        """Delete and return the attempt; None unless it is live and tenant and binding match.

        With another tenant or binding the attempt stays, so that no other browser can use it up.
        """

    async def add_logout_step(self, step: LogoutStep) -> None:
        """Store a logout in progress at a provider."""

    async def take_logout_step(
        self, step_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LogoutStep | None:
        """Delete and return the step, as `take_attempt` does."""

    # --- sessions
    async def add_session(self, session: Session, *, login: Login | None = None) -> None:
        """Store a new session and, if given, a login in it: together, where the database can do that.

        Raises StoredWithoutLogin when the session is stored and the login possibly is not; FailedBeforeLogin
        when the session possibly is stored and the login is not. After any other StoreUnavailable, either
        both are stored or none.
        """

    async def rotate_session(
        self,
        session_id: str,
        *,
        old_secret_hash: str,
        new_secret_hash: str,
        last_seen_at: float,
        idle_expires_at: float,
        login: Login | None = None,
    ) -> bool:
        """Replace the session's secret; False if the session is deleted or has another secret.

        Then store `login`, as `put_login` does: together with the secret, where the database can do that.
        Raises StoredWithoutLogin and FailedBeforeLogin, as `add_session`.
        """

    async def touch_sessions(self, touches: Sequence[SessionTouch]) -> None:
        """Set the idle expiry of sessions; never recreates a deleted session, nor shortens another's time."""

    async def delete_session(self, session_id: str) -> list[Login]:
        """Delete the session and its logins; return these logins."""

    # --- batched reading: used by every API call
    async def read(
        self, session_ids: Collection[str], login_ids: Collection[str], *, now: float
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        """Return those of the requested sessions and logins that are live, by id."""

    async def list_logins(self, session_id: str, *, now: float) -> list[Login]:
        """The live logins of a session, ordered by tenant."""

    # --- logins
    async def put_login(self, login: Login) -> None:
        """Store a login; it replaces the session's login at that tenant, if there is one."""

    async def swap_login(self, login: Login, *, expected_version: int) -> bool:
        """Replace the stored login if it still has `expected_version`; False if it is deleted or changed.

        `login.version` becomes the stored version. The lease fields of `login` are stored as given.
        """

    async def acquire_lease(
        self, login_id: str, *, owner: str, seconds: float, from_owner: str | None = None
    ) -> Login | None:
        """Acquire the refresh lease if no other owner has a live one; return the updated login.

        The lease expires `seconds` after the database granted it, by the database's clock. None if another
        owner has it, or the login is deleted or has expired. A lease that expired without being released is
        acquired only if its owner was `from_owner`; None: any owner. Acquiring the lease increments the
        version, so that a swap prepared earlier cannot overwrite it.
        """

    async def extend_lease(self, login_id: str, *, owner: str, seconds: float) -> bool:
        """Let the lease of `owner` expire `seconds` from now; increments the version as `acquire_lease` does.

        An expired lease is extended as well if no other owner has acquired it. False if `owner` no longer has
        it, or the login is deleted or has expired.
        """

    async def release_lease(self, login_id: str, *, owner: str) -> None:
        """Release the lease if `owner` still has it; increments the version as `acquire_lease` does."""

    async def delete_login(self, session_id: str, tenant: str, *, tokens: str | None = None) -> Login | None:
        """Delete and return the login.

        `tokens`: delete only if it still has this encrypted token set; None: in any case. Pass it when the
        reason for the deletion is a login that was read earlier, so that a later sign-in stays.
        """

    async def delete_logins_by_sid(
        self, issuer: str | None, sid: str, *, tenant: str, registration: str
    ) -> list[Login]:
        """Delete and return the logins of `tenant` under `registration` with this stored `sid`.

        `sid` is a hash of the provider's session id, see `Vault.stored_sids`. `issuer` None: any issuer of
        the login's ID token.

        Two tenants may share an issuer, and one tenant may have two clients there: logins of another tenant
        or registration stay.
        """

    async def delete_logins_by_subject(
        self, issuer: str, subject: str, *, tenant: str, registration: str, without_sid: bool = False
    ) -> list[Login]:
        """Delete and return the logins of `subject` at this issuer, tenant and registration.

        `without_sid`: only those without a `sid`.
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
        """Delete the logins under a registration that were made until `signed_in_until`; return how many.

        Logins of `kept_issuers` stay.
        """

    # --- identifiers that may be used once
    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        """Store `key` until `expires_at`; False if it is stored already."""

    async def is_remembered(self, key: str, *, now: float) -> bool:
        """Whether `remember_once` has stored `key` and it has not expired."""

    # --- metadata of the database
    async def get_meta(self, meta_id: str) -> str | None:
        """Return the value with this id, or None."""

    async def put_meta(self, meta_id: str, value: str) -> None:
        """Store a value with this id, replacing an earlier one."""

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        """Replace the value if it is `expected` (None: if there is none); False if it is not."""

    # --- cleaning up
    async def has_logins(self) -> bool:
        """Whether any login is stored, expired ones included."""

    async def forget_sign_ins(self, *, most: int) -> int:
        """Delete up to `most` entries of sign-ins, from login attempts to sessions, and setup links.

        Return how many; zero means that none are left. For `portal store restored`: a copy contains
        credentials that have been used or revoked since.
        """

    async def purge(self, *, keep_sign_ins: float = 0.0) -> int:
        """Delete the entries that have expired by the database's clock; return how many.

        Parameters: keep_sign_ins, for how many seconds after its end a session or login stays.
        """


__all__: Sequence[str] = ("Store",)
