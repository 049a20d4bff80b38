"""The error of a request that is refused before a handler sees it."""

from __future__ import annotations

from tornado.httputil import HTTPInputError


class RequestError(HTTPInputError):
    """A request that is invalid or exceeds a limit. The response is sent and the connection is closed.

    Parameters: message, for the log; status, of the response.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def reason_of(error: HTTPInputError) -> str:
    """The message of our own errors, for the log; those of Tornado quote the request."""
    return str(error) if isinstance(error, RequestError) else type(error).__name__
