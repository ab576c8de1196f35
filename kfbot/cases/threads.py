"""Cases in chats of agents: a thread for each, which shows what is said and takes what they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from kfbot.adapter import AgentsChatSettings, Capabilities, ChannelAdapter
from kfbot.cases.posts import CLOSED, CaseThread, Post, is_unopened, post_of, title_of
from kfbot.changes import EVERYTHING
from kfbot.conversation import Conversation, State
from kfbot.errors import ChannelError, ChannelUnavailable, SettingsError, StoreUnavailable
from kfbot.platform_calls import answered
from kfbot.store.agents_chats import AgentsChat
from kfbot.store.case_threads import CaseThreadStore, DueThread
from kfbot.store.lanes import Lane
from kfbot.store.work import StoredMessage

logger = logging.getLogger(__name__)

#: Everything is looked through so often, in case a notice was missed.
LOOK_SECONDS = 30.0
#: A platform may take so long to open a thread.
OPEN_SECONDS = 15.0
#: What is only for show may take so long.
SHOW_SECONDS = 5.0
_NOTICE = "conversation "


def agents_chats(channels: Mapping[str, ChannelAdapter]) -> tuple[AgentsChat, ...]:
    """The chats of agents in the settings of channels."""
    return tuple(
        AgentsChat(name, adapter.settings.agents_chat, adapter.settings.agents_for)
        for name, adapter in channels.items()
        if isinstance(adapter.settings, AgentsChatSettings) and adapter.settings.agents_chat
    )


def check_agents_chats(channels: Mapping[str, ChannelAdapter]) -> None:
    """Check that the channels exist whose cases are shown somewhere.

    Raises:
        SettingsError: Names the section, and what to change.
    """
    for name, adapter in channels.items():
        section = adapter.settings
        if not isinstance(section, AgentsChatSettings) or not section.agents_for:
            continue
        where = f"settings [channels.{name}] agents_for"
        if not section.agents_chat:
            raise SettingsError(f"{where}: agents_chat is missing, in which they are to be shown")
        for wanted in section.agents_for:
            if wanted not in channels:
                raise SettingsError(
                    f"{where}: there is no channel {wanted!r}: {', '.join(channels)}"
                )


class CaseThreads:
    """Shows every open case in each chat of agents that is to have it, as far as it has come.

    A thread has at most one message that waits to be sent. It is written when it goes, from
    all that the thread does not show by then; what comes later is for the next one.
    """

    def __init__(self, store: CaseThreadStore, channels: Mapping[str, ChannelAdapter]) -> None:
        self._store = store
        self._channels = channels
        self._chats = agents_chats(channels)
        #: Conversations of which something may be to be shown; None: of all.
        self._changed: set[int] | None = None
        self._wake = asyncio.Event()
        self._is_looking = False

    @property
    def idle(self) -> bool:
        """True where nothing is known that might have to be shown."""
        return not self._chats or (self._changed == set() and not self._is_looking)

    def hear(self, notice: str) -> None:
        """Listen to the store: something may be to be shown."""
        if not self._chats:
            return
        if notice == EVERYTHING:
            self._changed = None
            self._wake.set()
        elif notice.startswith(_NOTICE):
            self._look_at(int(notice.removeprefix(_NOTICE)))

    async def run(self) -> None:
        """Announce what is to be shown until cancelled; returns where no chat shows cases."""
        if not self._chats:
            return
        loop = asyncio.get_running_loop()
        is_adopted, looked_at = False, loop.time()
        while True:
            try:
                if not is_adopted:
                    await self._store.adopt(self._chats)
                    is_adopted = True
                await self._look()
            except StoreUnavailable as error:
                logger.error("not shown yet: %s", error, extra={"event": "store_unavailable"})
                await asyncio.sleep(1.0)
                continue
            except Exception:
                # A fault in here must not stop the answers to customers.
                logger.exception("cases not shown", extra={"event": "cases_not_shown"})
            with suppress(TimeoutError):
                async with asyncio.timeout_at(looked_at + LOOK_SECONDS):
                    await self._wake.wait()
            # Also where there is never a moment without news.
            if loop.time() >= looked_at + LOOK_SECONDS:
                self._changed, looked_at = None, loop.time()

    async def _look(self) -> None:
        """Announce the news of what changed; what fails is looked at again with all the rest."""
        self._wake.clear()
        changed, self._changed = self._changed, set()
        self._is_looking = True
        try:
            if changed is None or changed:
                for due in await self._store.due(self._chats, changed):
                    await self._announce(due)
        except BaseException:
            self._changed = None
            raise
        finally:
            self._is_looking = False

    async def _announce(self, due: DueThread) -> None:
        """Announce the news of one thread; where that fails others do not wait for it."""
        try:
            await self._store.announce(due)
        except StoreUnavailable:
            raise
        except Exception:
            logger.exception("case %d not shown", due.case_id, extra={"event": "case_not_shown"})

    def _look_at(self, conversation_id: int) -> None:
        if self._changed is not None:
            self._changed.add(conversation_id)
        self._wake.set()

    async def ready(self, lane: Lane, conversation: Conversation, stored: StoredMessage) -> bool:
        """True where a message may be sent as it is; False: look at the outbox again.

        To a thread of a case: the thread is opened first, the message is written now.

        Raises:
            ChannelError: The thread cannot be opened.
            ConversationChanged: Another worker has the lane.
            StoreUnavailable: Nothing was changed.
        """
        if conversation.state is not State.THREAD:
            return True
        if stored.message.text and not is_unopened(conversation):
            return True
        thread = await self._store.find(conversation.id)
        if thread is None:
            return True
        if is_unopened(conversation) and thread.state != CLOSED:
            await self._open(lane, conversation, stored, thread)
        else:
            await self._write(lane, conversation, stored, thread)
        return False

    async def _open(
        self, lane: Lane, conversation: Conversation, stored: StoredMessage, thread: CaseThread
    ) -> None:
        address = conversation.address
        adapter = self._channels.get(address.channel)
        if adapter is None:
            raise ChannelUnavailable(address.channel, "no such channel is configured")
        opening = adapter.open_thread(address.chat, title_of(thread))
        opened = await answered(adapter, opening, seconds=OPEN_SECONDS)
        # If this process dies here the thread is opened once more, and this one stays empty.
        await self._store.opened(lane, stored, replace(address, thread=opened))
        logger.info("case %d has a thread", thread.case.id, extra={"event": "thread_opened"})

    async def _write(
        self, lane: Lane, conversation: Conversation, stored: StoredMessage, thread: CaseThread
    ) -> None:
        said, is_whole = await self._store.unshown(thread)
        # What was over before its thread was opened is shown nowhere.
        is_late = is_unopened(conversation)
        post = Post(text="") if is_late else post_of(thread, said, is_whole=is_whole)
        adapter = self._channels.get(conversation.address.channel)
        can = adapter.capabilities if adapter is not None else Capabilities()
        await self._store.write(
            lane,
            stored,
            thread,
            post,
            last_message_id=said[-1].id if said else thread.shown_message_id,
            text_length=can.text_length,
        )
        if not post.text:
            # Nothing will be sent after which one would look for what came meanwhile.
            self._look_at(conversation.id)

    async def sent(self, conversation: Conversation, stored: StoredMessage) -> None:
        """A message was sent: if it was to a thread, what has come meanwhile is the next one's.

        Where a case changed hands its thread shows that; if it cannot, that is logged.
        """
        if conversation.state is not State.THREAD:
            return
        self._look_at(conversation.id)
        adapter = self._channels.get(conversation.address.channel)
        if stored.message.kind == "message" or adapter is None:
            return
        try:
            thread = await self._store.find(conversation.id)
            if thread is not None:
                await self._show_owner(adapter, conversation, thread)
        except (ChannelError, StoreUnavailable) as error:
            logger.warning("thread not renamed: %s", error, extra={"event": "thread_not_renamed"})

    async def _show_owner(
        self, adapter: ChannelAdapter, conversation: Conversation, thread: CaseThread
    ) -> None:
        renamed = adapter.rename_thread(conversation.address, title_of(thread))
        await answered(adapter, renamed, seconds=SHOW_SECONDS)
        if thread.state == CLOSED:
            closed = adapter.close_thread(conversation.address)
            await answered(adapter, closed, seconds=SHOW_SECONDS)
