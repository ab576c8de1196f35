"""The terminal: lines in, texts out."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TextIO

import pytest

from adapters.console import ConsoleAdapter, ConsoleSettings
from kfbot.errors import ChannelUnavailable
from kfbot.messages import (
    Button,
    ButtonPressed,
    Citation,
    ConversationId,
    InboundEvent,
    MessageReceived,
    OutboundMessage,
    Sender,
)

HERE = ConversationId("shop", "terminal")


def said(text: str = "hello", **more: object) -> OutboundMessage:
    return OutboundMessage(conversation=HERE, id="1", text=text, **more)  # type: ignore[arg-type]


class Terminal:
    """An adapter with a pipe for a keyboard."""

    def __init__(self) -> None:
        descriptor, self._keyboard = os.pipe()
        self._reader = os.fdopen(descriptor)
        self.screen = io.StringIO()
        self.adapter = ConsoleAdapter("shop", ConsoleSettings(platform="console"))
        self.adapter.reader = self._reader
        self.adapter.writer = self.screen

    def type(self, data: bytes) -> None:
        os.write(self._keyboard, data)

    async def events(self) -> list[InboundEvent]:
        """What was typed so far; ends the input."""
        os.close(self._keyboard)
        self._keyboard = -1
        return [event async for event in self.adapter.listen()]

    def close(self) -> None:
        self._reader.close()
        if self._keyboard >= 0:
            os.close(self._keyboard)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.mark.asyncio
async def test_lines_become_messages_until_the_input_ends(terminal: Terminal) -> None:
    terminal.type("退款多久到账？\n\n  second \nlast without newline".encode())
    events = await terminal.events()
    assert [event.text for event in events if isinstance(event, MessageReceived)] == [
        "退款多久到账？",
        "second",
        "last without newline",
    ]
    assert {event.conversation for event in events} == {HERE}
    assert len({event.event_id for event in events}) == 3
    assert all(event.sent_at.tzinfo for event in events)


@pytest.mark.asyncio
async def test_event_ids_of_two_sessions_differ() -> None:
    ids: set[str] = set()
    for _ in range(2):
        terminal = Terminal()
        terminal.type(b"same\n")
        ids.update(event.event_id for event in await terminal.events())
        terminal.close()
    assert len(ids) == 2


@pytest.mark.asyncio
async def test_bytes_that_are_not_utf8_do_not_end_listening(terminal: Terminal) -> None:
    terminal.type("退款\n".encode("gbk") + b"next\n")
    events = await terminal.events()
    assert isinstance(events[-1], MessageReceived)
    assert (len(events), events[-1].text) == (2, "next")


@pytest.mark.asyncio
@pytest.mark.parametrize("typed", ["2", " 2 ", "２"])
async def test_number_of_a_button_presses_it(terminal: Terminal, typed: str) -> None:
    await terminal.adapter.send(said(buttons=(Button("a", "One"), Button("b", "Two"))))
    terminal.type(f"{typed}\n".encode())
    (event,) = await terminal.events()
    assert isinstance(event, ButtonPressed)
    assert event.token == "b"


@pytest.mark.asyncio
@pytest.mark.parametrize("typed", ["0", "3", "-1", "1.", "²", "9" * 5000])
async def test_any_other_number_is_a_text(terminal: Terminal, typed: str) -> None:
    await terminal.adapter.send(said(buttons=(Button("a", "One"), Button("b", "Two"))))
    terminal.type(f"{typed}\n".encode())
    assert [type(event) for event in await terminal.events()] == [MessageReceived]


@pytest.mark.asyncio
async def test_answer_is_printed_with_sources_and_numbered_buttons(terminal: Terminal) -> None:
    await terminal.adapter.send(
        said(
            "Five days.",
            citations=(
                Citation(id="r", title="Returns", heading="Time", url="https://a.example/r"),
                Citation(id="faq-7", title=""),
            ),
            buttons=(Button("x", "Helpful"), Button("y", "有帮助")),
        )
    )
    assert terminal.screen.getvalue().splitlines() == [
        "bot: Five days.",
        "  [1] Returns › Time (https://a.example/r)",
        "  [2] faq-7",
        "  1. Helpful",
        "  2. 有帮助",
        "",
    ]


@pytest.mark.asyncio
async def test_marks_of_markdown_are_not_printed_and_no_word_is_lost(terminal: Terminal) -> None:
    await terminal.adapter.send(said("Within **2 days**, see [terms](https://a.example) <b>&#27;"))
    shown = "bot: Within 2 days, see terms https://a.example <b>\ufffd"
    assert terminal.screen.getvalue().splitlines()[0] == shown


@pytest.mark.asyncio
async def test_agent_is_named(terminal: Terminal) -> None:
    await terminal.adapter.send(said("Hi", sender=Sender("7", "agent", "Maya")))
    assert terminal.screen.getvalue().startswith("Maya: Hi")


@pytest.mark.asyncio
async def test_nothing_printed_can_steer_the_terminal(terminal: Terminal) -> None:
    evil = "\x1b[2J\x1b]0;t\x07\r\x08\x7f\x9b31m\u202e\u2066\x00ok"
    await terminal.adapter.send(
        said(
            evil,
            sender=Sender("7", "agent", evil),
            citations=(Citation(id="i", title=evil, heading=evil, url=evil),),
            buttons=(Button("t", evil),),
        )
    )
    printed = terminal.screen.getvalue()
    assert printed.count("ok") == 6
    assert all(character.isprintable() or character == "\n" for character in printed)


@pytest.mark.asyncio
async def test_poor_encoding_shows_question_marks(terminal: Terminal) -> None:
    raw = io.BytesIO()
    terminal.adapter.writer = io.TextIOWrapper(raw, encoding="ascii")
    await terminal.adapter.send(said("退款 \ud83d done"))
    assert raw.getvalue().decode() == "bot: ?? ? done\n\n"


def _closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.asyncio
async def test_closed_terminal_is_unavailable(terminal: Terminal) -> None:
    terminal.adapter.writer = _closed()
    with pytest.raises(ChannelUnavailable):
        await terminal.adapter.send(said())
