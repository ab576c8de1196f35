"""`kfbot serve` that can stand still at a named place, to be killed exactly there.

Patching from outside is right here: a real process has to stop between two certain lines of the
code, and no setting of the product should be able to ask for that.

Each line on standard input starts one server, forked from this process, which has imported
everything beforehand: a test starts dozens of servers, and importing takes most of a start.
Standard output says `started PID` and, once it ended, `ended STATUS`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from kfbot import cli, inbox, opening
from kfbot.knowledge_base import KnowledgeBase, Retrieval
from kfbot.testing import FakeKnowledgeBase
from tests.faults.faq import DOCUMENTS, ENTRIES
from tests.faults.places import stand_still_at
from tests.faults.standstill import Point, Standstill

#: What a server imports only once it runs.
_NEEDED = (
    "adapters.web",
    "kfbot.cli.app",
    "kfbot.cli.serving",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "asyncpg",
)
#: And only with a chat model.
_NEEDED_TO_WRITE = ("llama_index.llms.openai_like",)


@dataclass
class ThinkingKnowledgeBase(FakeKnowledgeBase):
    """Needs no model, and takes as long as it is told to."""

    seconds: float = 0.0

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
        standalone: bool = False,
    ) -> Retrieval:
        await asyncio.sleep(self.seconds)
        return await super().search(
            query, names=names, where=where, limit=limit, earlier=earlier, standalone=standalone
        )


def main() -> None:
    """Serve, again for every line on standard input."""
    options = _options()
    _patch(options)
    for name in (*_NEEDED, *_NEEDED_TO_WRITE * options.writes):
        with suppress(ModuleNotFoundError):  # asyncpg is an extra.
            importlib.import_module(name)
    for _ in sys.stdin:
        if (child := os.fork()) == 0:
            _become_server(options.log, ["serve", *options.arguments])
        _say(f"started {child}")
        _, status = os.waitpid(child, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of this server")
    parser.add_argument("--log", type=Path, required=True, help="takes what the servers print")
    parser.add_argument("--standstills", type=Path, required=True, help="a folder")
    parser.add_argument("--point", choices=get_args(Point))
    parser.add_argument("--lease-seconds", type=float)
    parser.add_argument("--think-seconds", type=float, default=0.0)
    parser.add_argument("--writes", type=int, default=0, help="1: from documents, no FAQ")
    parser.add_argument("arguments", nargs="*", help="of kfbot serve")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, flush=True)


def _become_server(log: Path, arguments: Sequence[str]) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        os._exit(cli.run(arguments))
    finally:
        # Nothing of the parent's may run on in a child.
        os._exit(70)


def _patch(options: argparse.Namespace) -> None:
    seconds = options.think_seconds

    @asynccontextmanager
    async def open_knowledge(*_: Any, **__: Any) -> AsyncIterator[KnowledgeBase]:
        if options.writes:
            yield ThinkingKnowledgeBase(DOCUMENTS, kind="document", seconds=seconds)
        else:
            yield ThinkingKnowledgeBase(ENTRIES, seconds=seconds)

    opening.open_knowledge = open_knowledge
    if options.lease_seconds is not None:
        assert inbox.LEASE_SECONDS > 0
        inbox.LEASE_SECONDS = options.lease_seconds
    if options.point is not None:
        stand = Standstill(options.standstills).stand
        stand_still_at(options.point, lambda: stand(options.name))


if __name__ == "__main__":
    main()
