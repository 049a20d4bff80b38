"""Reading forms that other sites send."""

from __future__ import annotations

from collections.abc import Mapping

from tornado.httputil import HTTPServerRequest

from portal.errors import BadRequest

_FORM = "application/x-www-form-urlencoded"


def posted_form(request: HTTPServerRequest) -> dict[str, list[str]]:
    """The fields of a form, each with all its values, without parameters of the URL.

    routes.py (`body_rules`) limits its size. Raises: BadRequest.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise BadRequest("the request is not a form")
    return decoded(request.body_arguments)


def decoded(arguments: Mapping[str, list[bytes]]) -> dict[str, list[str]]:
    """Decode parameters from UTF-8. Raises: BadRequest when one is not UTF-8."""
    try:
        return {name: [value.decode("utf-8") for value in values] for name, values in arguments.items()}
    except UnicodeDecodeError as error:
        raise BadRequest("a parameter is not UTF-8") from error
