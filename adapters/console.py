"""The terminal as a channel: needs no account. The example to copy for a new platform."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import TextIO

from pydantic import Field

from adapters.plain_text import markdown_to_text
from kfbot.adapter import AdapterSettings, Capabilities, ChannelAdapter
from kfbot.errors import ChannelUnavailable
from kfbot.messages import (
    Button,
    ButtonPressed,
    Citation,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    MessageReceived,
    OutboundMessage,
    Sender,
)

#: Whoever sits at the terminal.
CUSTOMER = Sender(id="terminal")

#: C0, DEL, C1 and the marks that turn the direction of text: a terminal would obey them.
_UNSAFE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"),
}


class ConsoleSettings(AdapterSettings):
    """`platform = "console"` needs nothing else."""

    #: Whoever sits at the terminal is alone with the bot.
    messages_per_minute: int = Field(default=0, ge=0, le=1000)


class ConsoleAdapter(ChannelAdapter):
    """Reads lines from the terminal and prints answers.

    A button is pressed by typing its number. The end of input ends `listen`. Set `reader` and
    `writer` before entering to use other streams; the reader needs a file descriptor.
    """

    settings_type = ConsoleSettings
    capabilities = Capabilities(text_length=100_000, buttons=True)

    def __init__(self, channel: str, settings: AdapterSettings) -> None:
        super().__init__(channel, settings)
        self.reader: TextIO = sys.stdin
        self.writer: TextIO = sys.stdout
        self._conversation = ConversationId(channel, "terminal")
        self._session = uuid.uuid4().hex
        self._lines_read = 0
        self._buttons: tuple[Button, ...] = ()

    async def listen(self) -> AsyncIterator[InboundEvent]:
        """Each line that is not blank is an event."""
        lines = _start_reading(self.reader.fileno())
        while (line := await lines.get()) is not None:
            if text := line.strip():
                yield self._to_event(text)

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Print the message.

        Raises:
            ChannelUnavailable: Nobody reads our output any more.
        """
        encoding = self.writer.encoding or "utf-8"
        text = "\n".join(render(message)) + "\n\n"
        try:
            # A terminal with a poor encoding shows question marks rather than nothing.
            self.writer.write(text.encode(encoding, "replace").decode(encoding))
            self.writer.flush()
        except (OSError, ValueError) as error:
            raise ChannelUnavailable(self.channel, "the terminal is closed") from error
        self._buttons = message.buttons
        return DeliveryReceipt()

    def _to_event(self, text: str) -> InboundEvent:
        self._lines_read += 1
        event_id = f"{self._session}-{self._lines_read}"
        now = datetime.now(UTC)
        if button := self._button_of(text):
            return ButtonPressed(
                event_id=event_id,
                conversation=self._conversation,
                token=button.token,
                sender=CUSTOMER,
                sent_at=now,
            )
        return MessageReceived(
            event_id=event_id,
            conversation=self._conversation,
            message_id=event_id,
            sender=CUSTOMER,
            sent_at=now,
            text=text,
        )

    def _button_of(self, text: str) -> Button | None:
        number = int(text) if text.isdecimal() and len(text) <= 2 else 0
        return self._buttons[number - 1] if 1 <= number <= len(self._buttons) else None


def render(message: OutboundMessage) -> Iterator[str]:
    """Lines to print, with nothing in them that a terminal would obey."""
    text = markdown_to_text(message.text)
    yield f"{neutralise(_name_of(message.sender))}: {neutralise(text)}"
    for number, citation in enumerate(message.citations, 1):
        yield neutralise(f"  [{number}] {_source_of(citation)}")
    for number, button in enumerate(message.buttons, 1):
        yield neutralise(f"  {number}. {button.label}")


def neutralise(text: str) -> str:
    """The text with its control characters made visible."""
    return text.replace("\r\n", "\n").translate(_UNSAFE)


def _name_of(sender: Sender) -> str:
    return sender.display_name or sender.role


def _source_of(citation: Citation) -> str:
    source = " › ".join(part for part in (citation.title or citation.id, citation.heading) if part)
    return f"{source} ({citation.url})" if citation.url else source


def _start_reading(descriptor: int) -> asyncio.Queue[str | None]:
    """Lines as they come, then None; read by a thread, so that the loop never waits for a key."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            for line in _lines_of(descriptor):
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)
        except RuntimeError:  # The loop is closed: nobody listens any more.
            return

    threading.Thread(target=read, name="console-reader", daemon=True).start()
    return lines


def _lines_of(descriptor: int) -> Iterator[str]:
    # os.read, not the text stream: a daemon thread that holds the lock of sys.stdin aborts the
    # interpreter at its end.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while chunk := _read(descriptor):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from lines
    if rest := rest + decoder.decode(b"", final=True):
        yield rest


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # The terminal is gone.
        return b""


ADAPTER = ConsoleAdapter
