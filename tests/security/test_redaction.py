"""No secret of the settings and no word of a customer's is in a log, an error or a metric.

Every input of a whole bot holds planted words, every place where it may fail does, with those
words in the error; then all that it wrote is searched for them.
"""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
import sqlalchemy as sa
from aiohttp import web

import kfbot.cli
from kfbot.adapter import ChannelAdapter
from kfbot.channels import adapter_type, open_channels, platforms
from kfbot.errors import ChannelUnavailable
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import Retrieval
from kfbot.messages import (
    Attachment,
    ButtonPressed,
    ConversationId,
    DeliveryReceipt,
    MessageEdited,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.model.opening import open_chat_model
from kfbot.observability.logs import configure_logging
from kfbot.settings import Settings, load_settings
from kfbot.store.connections import SqliteConnections
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from tests.integration.conftest import ENTRIES, ServedBot, serving_bot
from tests.security.planted_settings import (
    ELSEWHERE,
    has,
    overrides,
    secret_fields,
    secrets_in,
    sections,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

#: What a customer writes and is called; none of it is a word of ours.
PERSONAL = (
    "13812345678", "110101199003078515", "wanda.planted@mail.example", "6222021234567890123",
    "梧桐路二十七号", "Wanda Plantedname", "王植入", "zxqvplanted",
)  # fmt: skip
SAID = "My kettle broke zxqvplanted: " + ", ".join(PERSONAL)
#: Knows an answer, so that a chat model is asked.
ASKED = "How do I return an item?"
#: What must have gone wrong, for nothing of it to be shown.
_FAULTS = (
    "adapter_failed", "channel_down", "chat_model_failed", "event_not_told", "message_dead",
    "store_unavailable", "turn_failed", "webhook_refused", "was never retrieved",
)  # fmt: skip


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[str]:
    """A server for everybody: says 400 or 500, and in its answer all that it was told."""
    numbers = itertools.count()

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        told = f"{request.method} {request.url} {dict(request.headers)} ".encode() + body
        status = (400, 500, 403, 404, 429, 503)[next(numbers) % 6]
        text = json.dumps({"error": {"message": told.decode("utf-8", "replace")}, "errcode": 1,
                           "errmsg": told.decode("utf-8", "replace"), "ok": False,
                           "description": told.decode("utf-8", "replace")})  # fmt: skip
        return web.Response(status=status, text=text, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


class Told(logging.Handler):
    """Writes every record down, as text and as JSON."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()
        self.count = 0
        self.formatters: list[logging.Formatter | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        # pytest and its own handlers format a record too, and leave their work on it.
        record.exc_text = None
        self.count += 1
        for formatter in self.formatters:
            assert formatter is not None
            self.text.write(formatter.format(record) + "\n")
        record.exc_text = None


@pytest.fixture
def told() -> Told:
    """All that is logged, ours from DEBUG on, libraries' from INFO on."""
    handler, root = Told(), logging.getLogger()
    for form in ("text", "json"):
        configure_logging(form)
        handler.formatters.append(root.handlers[0].formatter)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in ("kfbot", "adapters", "knowledge"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    return handler


class FailingAdapter(FakeAdapter):
    """Fails in turn as an adapter may and as none should, with the customer's words."""

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        number = len(self.sent)
        self.sent.append(message)
        if number % 3 == 0:
            raise ValueError(f"cannot send {SAID} {message.text}")
        if number % 3 == 1:
            raise ChannelUnavailable(self.channel, "busy")
        return DeliveryReceipt(("1",))


class FailingKnowledge(FakeKnowledgeBase):
    """Answers, but for some questions: then it breaks with them in its error."""

    async def search(self, query: str, **how: Any) -> Retrieval:
        if "kettle" in query:
            raise RuntimeError(f"cannot search for {query}")
        return await super().search(query, **how)


@asynccontextmanager
async def whole_bot(tmp_path: Path, template: Path, url: str) -> AsyncIterator[ServedBot]:
    settings = load_settings_of(tmp_path, url)
    model = open_chat_model(settings.chat_model)
    assert model is not None
    async with serving_bot(
        tmp_path, template, sections=sections(url), channels={"shop": FailingAdapter("shop")},
        base=FailingKnowledge(ENTRIES, kind="document"),
        writer=Writer(model, settings.chat_model), **overrides(url),
    ) as bot:  # fmt: skip
        yield bot
    await model.aclose()


def load_settings_of(folder: Path, url: str, **more: Any) -> Settings:
    file = folder / "kfbot.toml"
    file.touch()
    given = {"channels": sections(url), **overrides(url), **more}
    return load_settings(file, overrides={"data_dir": str(folder)} | given)


async def customers_write(bot: ServedBot) -> None:
    """In every channel: words, files, edits, buttons, names that are all personal."""
    events: list[Any] = []
    for channel in bot.application.channels:
        here = ConversationId(channel, f"{PERSONAL[0]}-{PERSONAL[-1]}")
        sender = Sender(PERSONAL[2], display_name=PERSONAL[5])
        file = Attachment(url=f"http://127.0.0.1:1/{PERSONAL[-1]}", name=f"{PERSONAL[6]}.pdf")
        common: dict[str, Any] = {"conversation": here, "sender": sender, "sent_at": bot.clock()}
        events += [
            MessageReceived(event_id="1", message_id="1", text=SAID, attachments=(file,), **common),
            MessageEdited(event_id="2", message_id="1", text=f"{SAID}!", **common),
            ButtonPressed(event_id="3", token=PERSONAL[-1], **common),
        ]
        for number, text in enumerate(
            (ASKED, f"where is my order {PERSONAL[0]}", f"/kb add {SAID} => {SAID}"), start=4
        ):
            other = common | {"conversation": ConversationId(channel, f"{number}-{PERSONAL[0]}")}
            events.append(
                MessageReceived(event_id=str(number), message_id=str(number), text=text, **other)
            )
    for event in events:
        await bot.application.inbox.accept(event)
    bot.application.inbox.wake()


async def strangers_call(bot: ServedBot) -> str:
    """Every webhook and API with planted and broken input; all that is answered."""
    answers: list[str] = []
    headers = {"x-planted": PERSONAL[-1], "authorization": f"Bearer {PERSONAL[-1]}"}
    query = {"secret": PERSONAL[-1], "phone": PERSONAL[0]}
    good = {"authorization": "Bearer plantedwebtoken"}
    bodies = (SAID.encode(), b'{"text": "' + SAID.encode(), json.dumps({"text": SAID}).encode())
    places = [f"/webhooks/{name}" for name in bot.application.channels]
    places += ["/api/v1/ask", "/api/v1/conversations", f"/api/v1/{PERSONAL[-1]}", "/desk/api/login"]
    for place, body in itertools.product(places, bodies):
        for shown in (headers, good | {"content-type": "application/json"}):
            async with bot.http.post(
                bot.url + place, data=body, params=query, headers=shown
            ) as answer:
                answers.append(f"{answer.headers} {await answer.text()}")
    for place in (
        "/readyz", "/metrics", "/healthz", f"/nowhere/{PERSONAL[-1]}",
        f"/api/v1/conversations/{PERSONAL[-1]}", f"/api/v1/customers/{PERSONAL[-1]}",
    ):  # fmt: skip
        async with bot.http.get(bot.url + place, params=query, headers=headers) as answer:
            answers.append(f"{answer.headers} {await answer.text()}")
    return "\n".join(answers)


def break_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every third write fails, with the row in the driver's error."""
    write, numbers = SqliteConnections.write, itertools.count()

    async def failing(self: SqliteConnections, operation: Any) -> Any:
        if next(numbers) % 3 == 0:
            raise sa.exc.StatementError(
                "cannot bind", "INSERT INTO message VALUES (?)", {"text": SAID}, ValueError(SAID),
                hide_parameters=True,
            )  # fmt: skip
        return await write(self, operation)

    monkeypatch.setattr(SqliteConnections, "write", failing)


def found_in(text: str, words: set[str]) -> set[str]:
    """The lines with planted words, also as JSON and as an address writes them."""
    return {
        f"{word}: {line[max(0, line.find(word) - 200) :][:400]}"
        for line in text.splitlines()
        for form in (line, unquote(line), _unescaped(line))
        for word in words
        if word in form
    }


def _unescaped(line: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), line)


async def test_every_secret_setting_is_planted_in_these_tests() -> None:
    url = "http://127.0.0.1:1"
    given = sections(url)
    in_process = {"console", "web"}
    assert {one["platform"] for one in given.values()} == set(platforms()) - in_process
    for section in given.values():
        for field in secret_fields(adapter_type(section["platform"]).settings_type):
            assert has(section, field), (section["platform"], field)
    others = overrides(url) | ELSEWHERE
    missing = [one for one in secret_fields(Settings) if not has(others, one)]
    assert missing == []


async def test_no_secret_is_printed_with_settings_channels_or_their_faults(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    planted = secrets_in(sections(url)) | secrets_in(overrides(url) | ELSEWHERE)
    assert len(planted) > 25
    settings = load_settings_of(tmp_path, url, **ELSEWHERE)
    channels: Mapping[str, ChannelAdapter] = open_channels(settings)
    shown = [repr(settings), str(settings)]
    shown += [f"{one!r} {one.settings!r} {one.settings}" for one in channels.values()]
    assert found_in("\n".join(shown), planted) == set()


async def test_nothing_planted_is_logged_answered_or_counted(
    echo: str,
    tmp_path: Path,
    template_database: Path,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    planted = secrets_in(sections(echo)) | secrets_in(overrides(echo))
    async with whole_bot(tmp_path, template_database, echo) as bot:
        await customers_write(bot)
        answers = await strangers_call(bot)
        await bot.quiet()
        break_store(monkeypatch)
        await customers_write_again(bot)
        answers += await strangers_call(bot)
        await forget_a_task()
        server = json.loads((tmp_path / "server.json").read_text())
        assert found_in(json.dumps(server), planted | set(PERSONAL)) == set()
    shown = capfd.readouterr()
    logged = told.text.getvalue() + shown.err + shown.out
    assert told.count > 100
    for event in _FAULTS:
        assert event in logged, event
    assert found_in(logged, planted) == set()
    assert found_in(logged, set(PERSONAL)) == set()
    assert found_in(answers, (planted | set(PERSONAL))) == set()


async def customers_write_again(bot: ServedBot) -> None:
    """While the database fails."""
    for number in range(6):
        event = MessageReceived(
            event_id=f"again-{number}", conversation=ConversationId("shop", f"{PERSONAL[0]}"),
            message_id=f"again-{number}", sender=Sender(PERSONAL[2], display_name=PERSONAL[5]),
            sent_at=bot.clock(), text=SAID,
        )  # fmt: skip
        try:
            await bot.application.inbox.accept(event)
        except Exception as error:
            logging.getLogger("kfbot").error("not stored", exc_info=error)
        bot.application.inbox.wake()
        await asyncio.sleep(0)


async def forget_a_task() -> None:
    """Let a task fail that nobody asks how it ended."""

    async def fails() -> None:
        raise ValueError(SAID)

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    del task
    gc.collect()


async def test_check_prints_no_secret(
    echo: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    channels = sections(echo)
    lines = [f'data_dir = "{tmp_path}"', "[web]", "port = 0"]
    for name, section in channels.items():
        lines.append(f"[channels.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    (tmp_path / "kfbot.toml").write_text("\n".join(lines))
    arguments = ["check", "--settings", str(tmp_path / "kfbot.toml")]
    await asyncio.to_thread(kfbot.cli.run, arguments)
    shown = capfd.readouterr()
    assert "p-telegram" in shown.out + shown.err
    assert found_in(shown.out + shown.err, secrets_in(channels)) == set()
