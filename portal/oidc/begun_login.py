"""What a login attempt was begun for, for a page from which it can be begun again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login attempt that has ended. It has no secret: all of it can be in a link."""

    return_to: str
    """The path where the attempt would have led."""
    provider: str = ""
    """The id of its provider."""
    step_up: tuple[tuple[str, str], ...] = ()
    """`StepUp.parameters` of what an API requires of the login; empty when the attempt was no step-up."""
    scope_key: str = ""
    """`StepUp.api_key`."""
    api: str | None = None
    """The name of the API whose access token it adds to a login; None for any other attempt."""

    @property
    def is_of_api(self) -> bool:
        """Whether an API needs it: another sign-in would not do."""
        return bool(self.step_up) or self.api is not None
