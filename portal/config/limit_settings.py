"""The limits of one process: `limits` of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from portal.config.field_types import Duration, refused
from portal.config.validation import FileModel


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """The limits of one process."""

    connections: int | None = None
    """Of clients; None: as many as the limit of open files allows, at most 4,096."""
    connections_per_client: int | None = None
    """None: three quarters of the connections."""
    sign_ins_per_client: int = 50
    """A second, as the others per client."""
    attempts_per_client: int = 10_000
    """In ten minutes."""
    callbacks_per_client: int = 50
    logouts_per_client: int = 100
    finds_per_client: int = 50
    setup_links_per_client: int = 5
    unauthenticated_per_client: int = 200
    sign_ins_per_tenant: int = 200
    """A second, of all clients together, as the next one."""
    logouts_per_tenant: int = 400
    sessions_per_user: int = 100
    sockets_per_tenant: int = 1000
    sockets_per_user: int = 20
    socket_frames: int = 1000
    """Frames of less than 512 bytes that pass in each direction of a WebSocket every second."""
    socket_idle: float = 90.0
    """Seconds after which a browser that sends nothing over its WebSocket, not even a Pong, is gone."""


_PER_SECOND = (
    "for each client every second; after 20 seconds without any, 20 times as many at once. Further ones get "
    "429."
)
_OF_ALL_CLIENTS = (
    "from all clients together; after 20 seconds without any, 20 times as many at once. Further ones get "
    "503, and other tenants are not affected."
)
Rate = Annotated[int, Field(ge=1, le=1_000_000)]


class LimitsFile(FileModel):
    """The limits of one process."""

    connections: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description=(
            "How many connections of clients may be open at a time; further ones wait. null: as many as the "
            "limit of open files allows (two files each, and 256), at most 4,096."
        ),
    )
    connections_per_client: Rate | None = Field(
        default=None,
        description=(
            "How many of these connections one client may have: an IPv4 address, or the /64 of an IPv6 "
            "address; those of `trusted_proxies` may have all. Further ones are closed. null: three quarters."
        ),
    )
    sign_ins_per_client: Rate = Field(
        default=50, description=f"How many requests may begin a sign-in, {_PER_SECOND}"
    )
    attempts_per_client: Annotated[int, Field(ge=10, le=10_000_000)] = Field(
        default=10_000,
        description=(
            "How many sign-ins one client may begin in ten minutes, finished or not: the most attempts of it "
            "that are stored. Half of them may begin at once. Further ones get 429."
        ),
    )
    callbacks_per_client: Rate = Field(
        default=50, description=f"How many responses of providers to sign-ins may arrive, {_PER_SECOND}"
    )
    logouts_per_client: Rate = Field(
        default=100,
        description=(
            f"How many requests of providers that end sign-ins may arrive, {_PER_SECOND} Those of one tenant "
            "are at most half."
        ),
    )
    finds_per_client: Rate = Field(
        default=50, description=f"How many searches for an organisation may arrive, {_PER_SECOND}"
    )
    setup_links_per_client: Rate = Field(
        default=5, description=f"How many requests for setup links may arrive, {_PER_SECOND}"
    )
    unauthenticated_per_client: Rate = Field(
        default=200,
        description=f"How many calls of APIs without a session cookie get 401, {_PER_SECOND}",
    )
    sign_ins_per_tenant: Rate = Field(
        default=200,
        description=(
            "How many requests may begin a sign-in at one tenant every second, and as many responses of its "
            f"providers may arrive, {_OF_ALL_CLIENTS} Browsers that have signed in there before have as many "
            "of their own."
        ),
    )
    logouts_per_tenant: Rate = Field(
        default=400,
        description=(
            "How many requests that end sign-ins of one tenant may arrive from its providers every second, "
            f"{_OF_ALL_CLIENTS}"
        ),
    )
    sessions_per_user: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100,
        description=(
            "How many live sign-ins one user may have at a tenant, on all devices; further ones end the "
            "oldest. Counted at every tenth sign-in of a user, or more often when the number is below 100."
        ),
    )
    sockets_per_tenant: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=1000,
        description=(
            "The smaller of this and two thirds of the connections that one API may have is how many "
            "WebSockets to the APIs of one tenant may be open at a time; a further one gets 503. Two thirds "
            "are a sixteenth of the limit of open files, and at most 1,024."
        ),
    )
    sockets_per_user: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=20,
        description=(
            "How many WebSockets one user may have open at a tenant, in all sessions together; a further one "
            "gets 503."
        ),
    )
    socket_frames: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        default=1000,
        description=(
            "How many frames of less than 512 bytes pass in each direction of a WebSocket every second; ten "
            "times as many pass in all WebSockets of a tenant together. When there are more, the portal "
            "reads more slowly."
        ),
    )
    socket_idle: Duration = Field(
        default=90.0,
        description=(
            "A WebSocket ends when its browser has sent nothing for this long: 3s to 1h. The portal sends a "
            "Ping after a third of it, which every browser responds to."
        ),
        json_schema_extra={"default": "90s"},
    )

    @model_validator(mode="after")
    def _check_idle(self) -> LimitsFile:
        if not 3.0 <= self.socket_idle <= 3600.0:
            raise refused("must be between 3s and 1h", key="socket_idle")
        return self

    def settings(self) -> LimitSettings:
        """The limits without their descriptions."""
        return LimitSettings(**dict(self))
