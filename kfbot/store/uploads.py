"""Documents that were uploaded, as they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kfbot.store import tables
from kfbot.store.engine import Database


@dataclass(frozen=True, slots=True)
class Upload:
    """A document of a knowledge base."""

    name: str
    #: In bytes.
    size: int
    uploaded_at: datetime


class UploadStore:
    """Keeps uploaded documents by knowledge base and file name."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def put(self, knowledge_base: str, name: str, content: bytes) -> None:
        """Keep a document, in place of one of the same name.

        Raises:
            StoreUnavailable: It is not kept; the one before is.
        """
        key = {"knowledge_base": knowledge_base, "name": name}
        rest = {"content": content, "size": len(content), "uploaded_at": self._clock()}

        def operation(connection: sa.Connection) -> None:
            dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
            new = dialect.insert(tables.upload).values(key | rest)
            connection.execute(new.on_conflict_do_update(index_elements=list(key), set_=rest))

        await self._database.write(operation)

    async def remove(self, knowledge_base: str, name: str) -> bool:
        """Keep a document no longer; False where there was none.

        Raises:
            StoreUnavailable: It is still kept.
        """
        removal = tables.upload.delete().where(*_is(knowledge_base, name))
        return bool(await self._database.write(lambda c: c.execute(removal).rowcount))

    async def list(self, knowledge_base: str) -> tuple[Upload, ...]:
        """The documents of a knowledge base, by name.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        upload = tables.upload.c
        query = (
            sa.select(upload.name, upload.size, upload.uploaded_at)
            .where(upload.knowledge_base == knowledge_base)
            .order_by(upload.name)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(Upload(*row) for row in rows)

    async def content(self, knowledge_base: str, name: str) -> bytes | None:
        """A document as it came; None: there is none of that name.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(tables.upload.c.content).where(*_is(knowledge_base, name))
        found: bytes | None = await self._database.read(lambda c: c.execute(query).scalar())
        return found


def _is(knowledge_base: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (tables.upload.c.knowledge_base == knowledge_base, tables.upload.c.name == name)
