"""Log lines: structured, one per event, on standard error, without secrets.

Other libraries log with the standard library. The arguments of their messages may contain parts of a request,
so only the message's template is logged, never its arguments. For the same reason an exception is logged as
its type and its places in the code, without its message and without local variables.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _TemplateHandler(logging.Handler):
    """Passes the template of a library's log message to structlog, without its arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        fields = {"error": kind} if kind else {}
        logger.log(record.levelno, str(record.msg)[:200], **fields)


def error_fields(error: BaseException | None, tb: TracebackType | None) -> dict[str, object]:
    """The fields of a log line about an unexpected exception; its message may contain a secret."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(tb)]
    return {"error": type(error).__name__, "frames": frames}


def _without_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace an exception in `exc_info` by its `error_fields`; the renderer would print all of it."""
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event.update(error_fields(error, error.__traceback__))
    return event


def configure_logging(
    *,
    style: str,
    level: str,
    stream: TextIO | None = None,
    cache: bool = False,
    select: Processor | None = None,
) -> None:
    """Set up logging for this process.

    `style` is `console` or `json`; `level` is debug, info, warning or error; lines go to `stream`, by default
    standard error. `cache` fixes the configuration of each logger at its first use: faster, for processes
    that configure logging only once. `select` may drop lines by raising `structlog.DropEvent`.
    """
    out = stream or sys.stderr
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            *([select] if select else []),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_message,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=cache,
    )
    root = logging.getLogger()
    root.handlers[:] = [_TemplateHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
