"""Customers in SQL: who they are, and everything that is kept of one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from kfbot.store import tables
from kfbot.store.engine import Database, Operation
from kfbot.store.events import storable
from kfbot.store.purge import BATCH
from kfbot.store.redaction import is_shared
from kfbot.store.retention import remove_customers

_customer, _conversation = tables.customer.c, tables.conversation.c
_message, _turn, _case = tables.message.c, tables.turn.c, tables.case.c
_proposal, _heard = tables.proposal.c, tables.heard.c
_event, _delivery = tables.conversation_event.c, tables.event_delivery.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody who wrote on a channel."""

    id: int
    channel: str
    #: As the platform calls them.
    platform_user: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """An entry of a knowledge base that a person approved, made of a customer's words."""

    proposal_id: int
    knowledge_base: str
    entry_id: str
    question: str


class CustomerStore:
    """Finds customers and reads what is kept of them; every query is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        *,
        channel: str | None = None,
        search: str | None = None,
        conversation: int | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[Customer, ...]:
        """Customers, the newest first, with ids below `before`.

        Args:
            search: A part of the name, or of the platform's id.
            conversation: Only who wrote in it.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(tables.customer).order_by(_customer.id.desc()).limit(limit)
        if channel is not None:
            query = query.where(_customer.channel == storable(channel))
        if search is not None:
            part = storable(search)
            named = _customer.display_name.icontains(part, autoescape=True)
            query = query.where(
                sa.or_(named, _customer.platform_user.icontains(part, autoescape=True))
            )
        if conversation is not None:
            query = query.where(_wrote_in(conversation))
        if before is not None:
            query = query.where(_customer.id < before)
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(_of(row) for row in rows)

    async def find(self, channel: str, platform_user: str) -> Customer | None:
        """The customer of this id.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = sa.select(tables.customer).where(
            _customer.channel == storable(channel),
            _customer.platform_user == storable(platform_user),
        )
        row = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if row is None else _of(row)

    async def conversations(self, customer: Customer) -> dict[int, bool]:
        """The conversations in which a customer wrote; True: others' words are in it too.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        own = sa.select(_conversation.id).where(_conversation.customer_id == customer.id)
        said = sa.select(_message.conversation_id).where(_message.customer_id == customer.id)

        def query(connection: sa.Connection) -> dict[int, bool]:
            found = connection.execute(own.union(said)).scalars()
            return {
                number: connection.execute(is_shared(number, customer.id)).first() is not None
                for number in sorted(found)
            }

        return await self._database.read(query)

    async def learnt(self, customer: Customer) -> tuple[Learnt, ...]:
        """The approved entries that are known to be made of a customer's words.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        query = (
            sa.select(
                _proposal.id, _proposal.knowledge_base, _proposal.entry_id, _proposal.question
            )
            # Of an approval that broke off the entry may be there.
            .where(
                _learnt_of(customer.id),
                _proposal.entry_id.is_not(None),
                _proposal.state != "declined",
            )
            .order_by(_proposal.id)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        return tuple(
            Learnt(
                proposal_id=row.id,
                knowledge_base=row.knowledge_base,
                entry_id=row.entry_id or "",
                question=row.question,
            )
            for row in rows
        )

    async def forget_proposals(self, ids: Sequence[int]) -> None:
        """Remove proposals whose entries are gone.

        Raises:
            StoreUnavailable: Nothing was removed.
        """
        gone = tables.proposal.delete().where(_proposal.id.in_(ids))
        await self._database.write(lambda c: c.execute(gone).rowcount)

    async def forget(self, customer: Customer, before: datetime, tell: Operation[None]) -> bool:
        """Remove a customer whose words are gone; False where they have written since.

        Args:
            before: What they were told until then is forgotten in any case.
            tell: Has other systems told, in the same transaction.

        Raises:
            StoreUnavailable: Nothing was removed.
        """
        told = tables.consent.c
        forgotten = tables.consent.delete().where(
            told.customer_id == customer.id, told.told_at <= before
        )
        left = sa.select(
            sa.or_(
                sa.exists().where(_conversation.customer_id == customer.id),
                sa.exists().where(_message.customer_id == customer.id),
            )
        )
        seen = sa.and_(
            _heard.channel == customer.channel,
            _heard.sender == customer.platform_user,
            _heard.sent_at <= before,
        )

        def operation(connection: sa.Connection) -> bool:
            tell(connection)
            connection.execute(tables.heard.delete().where(seen))
            connection.execute(forgotten)
            if connection.execute(left).scalar_one():
                return False
            remove_customers(connection, [customer.id])
            return True

        return await self._database.write(operation)

    async def everything(self, customer: Customer) -> dict[str, Any]:
        """What is kept of a customer, ready for JSON: of shared conversations their part alone.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        numbers = await self.conversations(customer)
        told = sa.select(tables.consent).where(tables.consent.c.customer_id == customer.id)
        learnt = sa.select(tables.proposal).where(_learnt_of(customer.id))
        return {
            "customer": _plain(
                {
                    "channel": customer.channel,
                    "id": customer.platform_user,
                    "name": customer.name,
                    "known_since": customer.created_at,
                }
            ),
            "told": await self._rows(told, ("text_hash", "language", "told_at")),
            "conversations": [
                await self._conversation(number, customer, shared=shared)
                for number, shared in numbers.items()
            ],
            "proposals": await self._rows(learnt.order_by(_proposal.id), _PROPOSAL),
        }

    async def _conversation(
        self, number: int, customer: Customer, *, shared: bool
    ) -> dict[str, Any]:
        found = sa.select(tables.conversation).where(_conversation.id == number)
        [state] = await self._rows(found, ("id", "state", "created_at", "updated_at"))
        alias = tables.conversation_alias
        places = sa.select(alias).where(alias.c.conversation_id == number)
        parts = {
            name: await self._all(table, columns, _part(name, table, number, customer, shared))
            for name, (table, columns) in _PARTS.items()
        }
        memory = tables.action_memory
        kept = sa.select(memory).where(
            memory.c.conversation_id == number, memory.c.customer == customer.platform_user
        )
        return {
            **state,
            "others_wrote_too": shared,
            "addresses": await self._rows(places, ("channel", "chat", "thread", "member")),
            **parts,
            "action_memory": await self._rows(kept, ("data", "expires_at")),
        }

    async def _all(
        self, table: sa.Table, columns: Sequence[str], which: sa.ColumnElement[bool]
    ) -> list[dict[str, Any]]:
        """All rows, read page by page."""
        [key] = table.primary_key.columns
        rows: list[dict[str, Any]] = []
        query = sa.select(table).where(which).order_by(key).limit(BATCH)
        page = await self._database.read(lambda c: c.execute(query).mappings().all())
        while page:
            rows += [_plain(row, columns) for row in page]
            rest = query.where(key > page[-1][key.name])
            page = await self._database.read(lambda c, rest=rest: c.execute(rest).mappings().all())  # type: ignore[misc]
        return rows

    async def _rows(self, query: sa.Select[Any], columns: Iterable[str]) -> list[dict[str, Any]]:
        rows = await self._database.read(lambda c: c.execute(query).mappings().all())
        return [_plain(row, columns) for row in rows]


_PROPOSAL = (
    "id", "state", "knowledge_base", "question", "answer", "variants", "created_at", "decided_by",
    "decided_at", "entry_id",
)  # fmt: skip
_PARTS: Mapping[str, tuple[sa.Table, Sequence[str]]] = {
    "messages": (
        tables.message,
        ("id", "created_at", "role", "sender_name", "kind", "internal", "text", "extras",
         "platform_id", "turn_id"),
    ),
    "turns": (
        tables.turn,
        ("id", "created_at", "question", "decision", "confidence", "reason", "knowledge_base",
         "data", "evidence"),
    ),
    "cases": (
        tables.case,
        ("id", "opened_at", "reason", "question", "draft", "passages", "assigned_to", "claimed_by",
         "claimed_at", "closed_at", "closed_by", "outcome", "summary"),
    ),
    "buttons": (tables.button, ("action", "label", "turn_id", "expires_at", "pressed_at")),
    "received": (tables.inbox, ("event_id", "payload", "state", "received_at")),
    "sent": (tables.outbox, ("payload", "state", "error", "created_at")),
    "told_to_others": (
        tables.event_delivery,
        ("webhook", "event_uid", "type", "body", "state", "attempts", "status", "created_at",
         "finished_at"),
    ),
}  # fmt: skip


def _part(
    name: str, table: sa.Table, number: int, customer: Customer, shared: bool
) -> sa.ColumnElement[bool]:
    """The rows of a conversation that are the customer's to have."""
    if name == "told_to_others":
        uids = sa.select(_event.uid).where(_event.conversation_id == number)
        return sa.and_(_delivery.event_uid.in_(uids), sa.literal(not shared))
    here: sa.ColumnElement[bool] = table.c.conversation_id == number
    if not shared:
        return here
    own = sa.and_(_message.conversation_id == number, _message.customer_id == customer.id)
    turns = sa.select(_message.turn_id).where(own, _message.turn_id.is_not(None))
    if name == "messages":
        return sa.and_(
            here, sa.or_(_message.customer_id == customer.id, _message.turn_id.in_(turns))
        )
    if name == "turns":
        return _turn.id.in_(turns)
    if name == "cases":
        asked = sa.select(_turn.question).where(_turn.id.in_(turns))
        return sa.and_(here, _case.question.in_(asked))
    if name == "buttons":
        return tables.button.c.turn_id.in_(turns)
    if name == "received":
        events = sa.select(_message.event_id).where(own)
        return sa.and_(here, tables.inbox.c.event_id.in_(events))
    sent = sa.select(_message.id).where(_message.turn_id.in_(turns))
    return tables.outbox.c.message_id.in_(sent)


def _wrote_in(number: int) -> sa.ColumnElement[bool]:
    owner = sa.select(_conversation.customer_id).where(_conversation.id == number)
    writers = sa.select(_message.customer_id).where(
        _message.conversation_id == number, _message.customer_id.is_not(None)
    )
    return sa.or_(_customer.id == owner.scalar_subquery(), _customer.id.in_(writers))


def _learnt_of(customer_id: int) -> sa.ColumnElement[bool]:
    """Of a proposal: it was made of a conversation that is the customer's alone, or of turns with
    them."""
    other = tables.message.alias("other")
    shared = sa.exists().where(
        other.c.conversation_id == _conversation.id,
        other.c.customer_id.is_not(None),
        other.c.customer_id != customer_id,
    )
    own = sa.select(_conversation.id).where(_conversation.customer_id == customer_id, ~shared)
    said = sa.select(_message.turn_id).where(
        _message.customer_id == customer_id, _message.turn_id.is_not(None)
    )
    asked = sa.exists().where(
        _turn.id.in_(said),
        _turn.conversation_id == _case.conversation_id,
        _turn.question == _case.question,
    )
    cases = sa.select(_case.id).where(sa.or_(_case.conversation_id.in_(own), asked))
    turns = sa.select(_turn.id).where(_turn.conversation_id.in_(own))
    return sa.or_(
        _proposal.case_id.in_(cases), _proposal.turn_id.in_(turns), _proposal.turn_id.in_(said)
    )


def _of(row: sa.Row[Any]) -> Customer:
    return Customer(
        id=row.id,
        channel=row.channel,
        platform_user=row.platform_user,
        name=row.display_name,
        created_at=row.created_at,
    )


def _plain(row: Mapping[Any, Any], columns: Iterable[str] | None = None) -> dict[str, Any]:
    """A row ready for JSON."""
    found = {name: row[name] for name in columns or row}
    if isinstance(body := found.get("body"), str):
        found["body"] = json.loads(body)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in found.items()
    }
