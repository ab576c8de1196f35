"""What is kept of customers: shown, erased, and, once it is old enough, masked and removed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from kfbot.errors import KnowledgeBaseUnavailable, StoreUnavailable
from kfbot.knowledge_base import KnowledgeBase
from kfbot.settings import Settings
from kfbot.store.audit import AuditStore
from kfbot.store.conversation_events import record_erasure
from kfbot.store.copies import Backup, backups_with
from kfbot.store.customers import Customer, CustomerStore, Learnt
from kfbot.store.engine import Database, Operation
from kfbot.store.entries import renew_all
from kfbot.store.erasure import erased_halfway, remove_rest, take_away
from kfbot.store.masking import mask_conversation
from kfbot.store.purge import PAUSE_SECONDS
from kfbot.store.redaction import redact
from kfbot.store.retention import quiet_conversations, remove_strangers, retire

logger = logging.getLogger(__name__)

#: Conversations that are removed at a time.
TOGETHER = 25
#: The form of an export.
FORMAT = "kfbot-customer-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What became of one customer's data."""

    customer: Customer
    #: Whole conversations that are gone.
    conversations: int
    #: Conversations that are others' too: marks stand where the customer's words stood.
    redacted: int
    #: Rows that are gone, by table.
    rows: Mapping[str, int]
    #: Entries that people approved, made of the customer's words; and those that were removed.
    entries: tuple[Learnt, ...]
    entries_removed: tuple[Learnt, ...]
    #: True: they have written since it began, in a new conversation, which stays.
    wrote_meanwhile: bool
    #: Why the files may still hold what was deleted; "": they do not.
    not_compacted: str
    backups: tuple[Backup, ...]
    elsewhere: tuple[str, ...]


class Privacy:
    """For one event loop. What breaks off goes on when the same is asked again."""

    def __init__(
        self,
        database: Database,
        knowledge: KnowledgeBase,
        clock: Callable[[], datetime],
        *,
        settings: Settings,
        keep_days: Mapping[str, int],
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Prepare.

        Args:
            keep_days: By channel, how long conversations are kept where that differs; 0: for ever.
            pause_seconds: Between two batches of what is removed: what customers write goes first.
        """
        self.customers = CustomerStore(database)
        self._database = database
        self._knowledge = knowledge
        self._clock = clock
        self._audit = AuditStore(database, clock)
        self._settings = settings
        self._keep_days = keep_days
        self._pause_seconds = pause_seconds
        self._erasing = asyncio.Lock()

    async def export(
        self, channel: str, platform_user: str, *, actor: str
    ) -> dict[str, Any] | None:
        """Everything that is kept of a customer, and where else copies may be; None: no such one.

        It is noted in the audit log who had it.

        Raises:
            StoreUnavailable: The database cannot be read, or the note not be written.
        """
        customer = await self.customers.find(channel, platform_user)
        if customer is None:
            return None
        await self._audit.add(actor, "customer_exported", f"customer {customer.id}")
        found = await self.customers.everything(customer)
        backups, elsewhere = await self._copies(customer)
        return {
            "format": FORMAT,
            "exported_at": self._clock().isoformat(),
            **found,
            "copies": {"backups": backup_data(backups), "elsewhere": list(elsewhere)},
        }

    async def erase(
        self, channel: str, platform_user: str, *, actor: str, entries: bool = False
    ) -> Erasure | None:
        """Remove everything that is kept of a customer; None: there is no such one.

        Conversations go at once, also while the bot works on them: what it was about to say is
        not said. Words in a conversation that is others' too are replaced by a mark. Event
        webhooks are told.

        Args:
            entries: Remove also what people approved as entries of knowledge bases.

        Raises:
            KnowledgeBaseUnavailable: An entry cannot be removed now; the rest is still there.
            StoreUnavailable: Some may be left; again goes on there.
        """
        async with self._erasing:
            customer = await self.customers.find(channel, platform_user)
            return None if customer is None else await self._erase(customer, actor, entries)

    async def _erase(self, customer: Customer, actor: str, entries: bool) -> Erasure:
        started = self._clock()
        learnt = await self.customers.learnt(customer)
        removed = await self._remove_entries(learnt) if entries else ()
        numbers = await self.customers.conversations(customer)
        rows = await self._remove_words(customer, numbers, started)
        fault = await self._compact(whole=True)
        redacted = sum(numbers.values())
        # First: broken off behind it, the same is asked again and noted twice, not never.
        await self._audit.add(
            actor,
            "customer_erased",
            f"customer {customer.id}",
            conversations=len(numbers) - redacted,
            redacted=redacted,
            rows=dict(rows),
            entries=len(removed),
            # SQLite may give the number to another one some day.
            known_since=customer.created_at.isoformat(),
        )
        gone = await self.customers.forget(customer, started, self._telling(customer, numbers))
        fault = fault or await self._compact(whole=False)
        backups, elsewhere = await self._copies(customer)
        return Erasure(
            customer=customer,
            conversations=len(numbers) - redacted,
            redacted=redacted,
            rows=rows,
            entries=learnt,
            entries_removed=removed,
            wrote_meanwhile=not gone,
            not_compacted=fault,
            backups=backups,
            elsewhere=elsewhere,
        )

    def _telling(self, customer: Customer, numbers: Mapping[int, bool]) -> Operation[None]:
        """What has event webhooks told that a customer was erased."""
        return partial(
            record_erasure,
            webhooks=self._settings.event_webhooks,
            channel=customer.channel,
            user=customer.platform_user,
            numbers=numbers,
            now=self._clock(),
        )

    async def _remove_words(
        self, customer: Customer, numbers: Mapping[int, bool], now: datetime
    ) -> Counter[str]:
        rows: Counter[str] = Counter()
        for number, shared in numbers.items():
            if shared:
                rows["message"] += await redact(self._database, number, customer.id, now)
            else:
                rows += await self._remove(number)
        return rows + await self._finish()

    async def keep_up(self) -> None:
        """Finish what was begun, and remove and mask what is old enough, in small steps.

        Raises:
            StoreUnavailable: Some may be left.
        """
        removed = await self._finish()
        retired = await self._retire()
        masked = await self._mask()
        if any(self._keep_days.values()) or self._settings.privacy.keep_conversations_days:
            while strangers := await remove_strangers(self._database):
                removed["customer"] += strangers
                await asyncio.sleep(self._pause_seconds)
        removed += retired
        if not removed and not masked:
            return
        await self._audit.add("kfbot", "retention", "", removed=dict(removed), masked=masked)
        logger.info(
            "conversations removed %d, masked %d",
            removed["conversation"],
            masked,
            extra={"event": "retention", "removed": dict(removed), "masked": masked},
        )

    async def _finish(self) -> Counter[str]:
        """Go on with what somebody began to remove."""
        removed: Counter[str] = Counter()
        while halfway := await erased_halfway(self._database):
            for at in range(0, len(halfway), TOGETHER):
                removed += await self._rest(halfway[at : at + TOGETHER])
        return removed

    async def _remove(self, number: int) -> Counter[str]:
        take = partial(take_away, number=number, now=self._clock())
        await self._database.write(take, lanes=(number,))
        return await self._rest([number])

    async def _retire(self) -> Counter[str]:
        """Remove conversations whose last word is old enough for their channel."""
        common, now = self._settings.privacy.keep_conversations_days, self._clock()
        days = [one for one in (common, *self._keep_days.values()) if one]
        removed: Counter[str] = Counter()
        if not days:
            return removed
        youngest = now - timedelta(days=min(days))
        async for page in quiet_conversations(self._database, youngest):
            due = {
                one.number: before
                for one in page
                if (keep := self._keep_days.get(one.channel, common))
                and one.last_at < (before := now - timedelta(days=keep))
            }
            ordered = list(due)
            for at in range(0, len(ordered), TOGETHER):
                some = {number: due[number] for number in ordered[at : at + TOGETHER]}
                take = partial(retire, due=some, now=now)
                if taken := await self._database.write(take, lanes=tuple(some)):
                    removed += await self._rest(taken)
                await asyncio.sleep(self._pause_seconds)
        return removed + await self._finish()

    async def _rest(self, numbers: Sequence[int]) -> Counter[str]:
        return await remove_rest(self._database, numbers, pause_seconds=self._pause_seconds)

    async def _mask(self) -> int:
        """Mask what was said in conversations that are quiet; returns how many there were."""
        section, now, masked = self._settings.privacy, self._clock(), 0
        kinds = section.masked_kinds
        if not kinds:
            return 0
        before = now - timedelta(days=section.mask_after_days)
        mask = partial(self._knowledge.masked, kinds=kinds)
        async for page in quiet_conversations(self._database, before):
            for one in page:
                if one.masked_at is not None and one.masked_at >= one.last_at:
                    continue
                masked += await mask_conversation(self._database, one.number, before, mask, now)
                await asyncio.sleep(self._pause_seconds)
        return masked

    async def _remove_entries(self, learnt: Sequence[Learnt]) -> tuple[Learnt, ...]:
        removed = []
        for one in learnt:
            if one.entry_id and await self._removed(one):
                removed.append(one)
        # Also after an attempt that was broken off between the two.
        await self._build_anew({one.knowledge_base for one in learnt})
        await self.customers.forget_proposals([one.proposal_id for one in learnt])
        return tuple(removed)

    async def _build_anew(self, names: Collection[str]) -> None:
        """Leave nothing of removed entries in the indexes, which only pass over them."""
        # An index stays beside the one that follows it: the second takes the first's place.
        for _ in range(2 if names else 0):
            for name in names:
                await self._database.write(partial(renew_all, name=name))
            await self._knowledge.refresh()

    async def _removed(self, one: Learnt) -> bool:
        if one.knowledge_base not in self._settings.knowledge:
            raise KnowledgeBaseUnavailable(
                f"entry {one.entry_id} is of knowledge base {one.knowledge_base!r}, which the"
                " settings have no more: name it there, or erase without entries"
            )
        return await self._knowledge.remove_entry(one.knowledge_base, one.entry_id)

    async def _compact(self, *, whole: bool) -> str:
        """Clean the files; returns why that was not possible, "" where it was."""
        try:
            await self._database.compact(whole=whole)
        except StoreUnavailable as error:
            logger.warning("not compacted: %s", error, extra={"event": "not_compacted"})
            return str(error)
        return ""

    async def _copies(self, customer: Customer) -> tuple[tuple[Backup, ...], tuple[str, ...]]:
        """The backups that lie where they are written, and what else may hold copies."""
        folder = self._settings.data_dir / "backups"
        look = partial(backups_with, folder, customer.channel, customer.platform_user)
        backups = await asyncio.to_thread(look)
        return tuple(backups), tuple(self._elsewhere(customer.channel))

    def _elsewhere(self, channel: str) -> list[str]:
        settings = self._settings
        platform = settings.channels.get(channel, {}).get("platform", "web")
        found = []
        if platform not in ("web", "console"):
            found.append(f"[channels.{channel}]: the platform {platform} keeps what it carried")
        for name, webhook in settings.event_webhooks.items():
            if not webhook.channels or channel in webhook.channels:
                found.append(f"[event_webhooks.{name}]: a system that was told of conversations")
        found += [f"[actions.{name}]: a system that was asked" for name in settings.actions]
        if settings.chat_model.base_url:
            found.append("[chat_model] base_url: an endpoint that was asked with their words")
        for name, section in settings.channels.items():
            if section.get("agents_chat"):
                found.append(f"[channels.{name}] agents_chat: case threads shown to agents")
        return [
            *found,
            "folders that kfbot model data build wrote, and models tuned on them",
            "files that were exported at the desk, and reports of kfbot evaluate",
            "backups outside of the data folder, also of PostgreSQL",
        ]


def backup_data(backups: Sequence[Backup]) -> list[dict[str, Any]]:
    """Backups, ready for JSON."""
    return [
        asdict(one) | {"file": str(one.file), "written_at": one.written_at.isoformat()}
        for one in backups
    ]
