"""Log format: one line a record, with the conversation it belongs to; text or JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

from kfbot.errors import KfbotError
from kfbot.observability.metrics import CountingHandler

#: What ends a line, moves a terminal's cursor or turns the direction of writing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_context: ContextVar[dict[str, object]] = ContextVar("kfbot_logging_context")


@contextmanager
def logging_context(**fields: object) -> Iterator[None]:
    """Put fields (ids only, never a customer's words) on every record made inside."""
    token = _context.set({**_context.get({}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def configure_logging(form: str) -> None:
    """Send kfbot's records to standard error, as "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler, CountingHandler()]
    root.setLevel(logging.WARNING)
    for name in ("kfbot", "adapters", "knowledge"):
        logging.getLogger(name).setLevel(logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    event = getattr(record, "event", None)
    return ({"event": event} if event else {}) | _context.get({})


class Discreet(logging.Formatter):
    """A formatter that shows where an error came from, and of its text only what is our own.

    The text of a foreign error may quote anything: a row, an address with its key, the words of a
    customer. Its type and the lines of code that it passed are shown.
    """

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """The errors behind one another, without the text of foreign ones."""
        return "".join(_lines_of(ei[1], set())).rstrip() if ei[1] is not None else ""

    def message_of(self, record: logging.LogRecord) -> str:
        """What the record says."""
        message = record.getMessage()
        # Behind its first line asyncio shows tasks, with their errors as they print themselves.
        return message.partition("\n")[0] if record.name == "asyncio" else message


def _lines_of(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines_of(before, seen)
        yield "\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{name}: {_one_line(str(error))}\n" if isinstance(error, KfbotError) else f"{name}\n"
    for part in getattr(error, "exceptions", ()) if isinstance(error, BaseExceptionGroup) else ():
        yield from (f"  {line}" for line in _lines_of(part, seen))


class _Text(Discreet):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{at} {record.levelname.lower():7} " + _one_line(
            f"{self.message_of(record)}  {fields}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line.rstrip()


class _Json(Discreet):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message_of(record),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _one_line(text: str) -> str:
    """Whatever a platform said, it must not look like a record of its own."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
