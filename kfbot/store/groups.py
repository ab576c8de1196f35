"""What waits for the database at the same time is done together, things of one kind at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from kfbot.errors import StoreUnavailable

Result = TypeVar("Result")
Item = TypeVar("Item")
#: Works on several items at once: one result each, or the error to raise for it.
Batch = Callable[[sa.Connection, Sequence[Item]], Sequence[Result | Exception]]

#: Items that are done together, at most.
GROUP_SIZE = 64


@dataclass(slots=True, eq=False)
class Waiting:
    """An item, what is to be done with it, and who waits for that."""

    batch: Batch[Any, Any]
    item: Any
    lanes: Collection[int]
    done: asyncio.Future[Any]


def run_group(connection: sa.Connection, group: Sequence[Waiting]) -> list[Any]:
    """The results of a group, each kind done at once.

    Raises:
        Exception: Whatever one of them raises.
    """
    kinds: dict[Batch[Any, Any], list[Waiting]] = {}
    for waiting in group:
        kinds.setdefault(waiting.batch, []).append(waiting)
    results: dict[Waiting, Any] = {}
    for batch, members in kinds.items():
        made = batch(connection, [waiting.item for waiting in members])
        results |= zip(members, made, strict=True)
    return [results[waiting] for waiting in group]


def settle(group: Sequence[Waiting], results: Sequence[Any]) -> None:
    """Give everybody their result."""
    for waiting, result in zip(group, results, strict=True):
        if waiting.done.done():
            continue
        if isinstance(result, Exception):
            waiting.done.set_exception(result)
            # Nobody may be waiting any more; the failure is then not worth a warning.
            waiting.done.exception()
        else:
            waiting.done.set_result(result)


class SharedReads:
    """Reads that are asked for while another is under way go together, as the next journey."""

    def __init__(self, read: Callable[[Callable[[sa.Connection], Any]], Awaitable[Any]]) -> None:
        """`read` runs a query on a connection."""
        self._read = read
        self._asked: list[Waiting] = []
        self._going: asyncio.Task[None] | None = None

    async def ask(self, batch: Batch[Item, Result], item: Item) -> Result:
        """Have `batch` read for this item, and for what else waits for it."""
        waiting = Waiting(batch, item, (), asyncio.get_running_loop().create_future())
        self._asked.append(waiting)
        if self._going is None or self._going.done():
            self._going = asyncio.create_task(self._go(), name="store-reader")
        result: Result = await waiting.done
        return result

    async def _go(self) -> None:
        while self._asked:
            group = self._asked[:GROUP_SIZE]
            del self._asked[:GROUP_SIZE]
            settle(group, await self._results(group))

    async def _results(self, group: Sequence[Waiting]) -> list[Any]:
        try:
            results: list[Any] = await self._read(partial(run_group, group=group))
        except StoreUnavailable as error:
            return [error] * len(group)
        except Exception as error:
            if len(group) == 1:
                return [error]
            # Whose it is will show; the neighbours have nothing to do with it.
            return [result for one in group for result in await self._results([one])]
        return results
