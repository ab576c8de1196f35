"""A real server with a channel of every platform that calls it, and the lines that lead there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfbot.cli.client import Address
from kfbot.cli.load_driving import Line
from kfbot.cli.load_lines import AskLine, WebChatLine, WebhookLine, new_run
from tests.cache import MODEL_CACHE
from tests.faults.faq import write_faq
from tests.faults.flaky import Flaky
from tests.faults.servers import Server, free_port
from tests.load.dingtalk_line import DingTalkLine
from tests.load.discord_line import DiscordLine
from tests.load.lines import StandInLine, stand_in_lines
from tests.load.onebot_line import OneBotLine

#: Settings that say where a platform is.
_ADDRESSES = {"api_base", "base_url", "callback_url", "homeserver"}
SECRET = "whsec_bG9hZC1sb2FkLWxvYWQtbG9hZC1sb2Fk"


@dataclass(frozen=True)
class Loaded:
    """What is there to be driven."""

    server: Server
    lines: Sequence[Line]
    folder: Path
    #: What lies between the server and each platform that it calls, where that was wished.
    flakies: Sequence[Flaky]

    @property
    def database(self) -> Path:
        """The SQLite file of the server, where it has no other database."""
        return self.folder / "var" / "kfbot.sqlite3"


@asynccontextmanager
async def loaded(
    folder: Path,
    *,
    flaky: bool = False,
    further: Sequence[StandInLine] = (),
    database_url: str | None = None,
) -> AsyncIterator[Loaded]:
    """A started server and its lines, all of them; nothing of it is left at the end.

    Args:
        flaky: What the server sends passes something that can break.
        further: Lines beside those that every run has.
        database_url: None: a SQLite file.
    """
    (folder / "var").mkdir(parents=True)
    (folder / "docs").mkdir()
    write_faq(folder / "docs" / "faq.jsonl")
    MODEL_CACHE.mkdir(exist_ok=True)
    (folder / "var" / "models").symlink_to(MODEL_CACHE.resolve())
    server = Server("load", folder)
    async with AsyncExitStack() as stack:
        sections: dict[str, dict[str, Any]] = {}
        stand_ins = [
            *stand_in_lines(),
            DiscordLine("discord"),
            OneBotLine("onebot"),
            DingTalkLine("dingtalk"),
            *further,
        ]
        for line in stand_ins:
            stack.push_async_callback(line.release)
            sections[line.name] = await line.prepare(f"{server.url}/webhooks/{line.name}")
        callback = f"http://127.0.0.1:{free_port()}/hook"
        sections["webhook"] = {"platform": "webhook", "secret": SECRET, "callback_url": callback}
        flakies = await _put_between(sections, stack) if flaky else []
        _write_settings(folder / "kfbot.toml", server.port, sections, database_url)
        stack.push_async_callback(server.close)
        await server.start()
        address, run = Address(server.url, ""), new_run()
        lines = [
            AskLine(address, run),
            WebChatLine(address, run),
            WebhookLine("webhook", sections["webhook"] | {"callback_url": callback}, address, run),
            *stand_ins,
        ]
        yield Loaded(server, lines, folder, flakies)


async def _put_between(
    sections: Mapping[str, dict[str, Any]], stack: AsyncExitStack
) -> Sequence[Flaky]:
    """Have every address of a platform lead through something that can break."""
    flakies: list[Flaky] = []
    for section in sections.values():
        for name in _ADDRESSES & section.keys():
            parts = urlsplit(section[name])
            flaky = Flaky(f"{parts.scheme}://{parts.netloc}", seed=len(flakies))
            flakies.append(await stack.enter_async_context(flaky))
            section[name] = flaky.url + parts.path
    return flakies


def _write_settings(
    file: Path,
    port: int,
    sections: Mapping[str, Mapping[str, Any]],
    database_url: str | None,
) -> None:
    lines = [
        'data_dir = "var"',
        "[web]",
        f"port = {port}",
        "[knowledge.shop]",
        'sources = ["docs"]',
    ]
    if database_url is not None:
        lines += ["[database]", f"url = {json.dumps(database_url)}"]
    for name, section in sections.items():
        lines.append(f"[channels.{name}]")
        # Of these settings JSON is TOML. One customer is many here: they are not held back.
        values = {"messages_per_minute": 0} | dict(section)
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
