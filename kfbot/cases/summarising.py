"""Has a chat model say what cases are about, in the background: once one is opened or looked at."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection

from kfbot.cases.posts import summary_note
from kfbot.chat_model import Usage
from kfbot.conversation import Case, HistoryMessage, Language
from kfbot.errors import ChatModelError, ConversationChanged, StoreUnavailable
from kfbot.grounding.summaries import needs_summary, summarised
from kfbot.grounding.writing import Writer
from kfbot.language import language_of, last_spoken
from kfbot.observability.logs import logging_context
from kfbot.store.conversations import ConversationStore
from kfbot.store.summaries import SummaryStore
from kfbot.store.transcripts import TranscriptStore
from kfbot.templates import NO_SLOTS, Slots, hidden

logger = logging.getLogger(__name__)

#: Cases that wait for their summary; of more than these it is made when they are looked at.
WAITING = 100
#: Summaries that are made at the same time.
WORKERS = 2
#: What failed is tried again after so long, if it is looked at.
AGAIN_SECONDS = 120.0
#: Messages that are read.
_READ = 60

_Key = tuple[int, Language | None]


class Summarising:
    """Makes each summary once. An `AgentDesk`, which is told of cases after they are committed."""

    def __init__(
        self,
        writer: Writer | None,
        store: SummaryStore,
        conversations: ConversationStore,
        transcripts: TranscriptStore,
        help_desks: Collection[str] = (),
        slots: Slots = NO_SLOTS,
    ) -> None:
        """Prepare.

        Args:
            writer: None: there is no chat model, and nothing is made.
            slots: What the private ones find is hidden from the chat model.
            help_desks: Channels whose agents read a summary on the platform itself.
        """
        self._writer = writer
        self._store = store
        self._conversations = conversations
        self._transcripts = transcripts
        self._slots = slots
        self._help_desks = help_desks
        self._wanted: asyncio.Queue[tuple[Case, Language | None]] = asyncio.Queue(WAITING)
        #: What waits, is being made, or failed (and since when), the oldest first.
        self._known: OrderedDict[_Key, float | None] = OrderedDict()

    async def open(self, case: Case) -> None:
        """Have it summed up in the language that the customer speaks."""
        self.want(case, None)

    async def close(self, case: Case) -> None:
        """Nothing: what is made is kept."""

    def want(self, case: Case, language: Language | None) -> None:
        """Have a case summed up soon, unless that was done, is under way, or too many wait."""
        key = (case.id, language)
        if self._writer is None or self._wanted.full() or self._is_known(key):
            return
        self._known[key] = None
        while len(self._known) > 10 * WAITING:
            self._known.popitem(last=False)
        self._wanted.put_nowait((case, language))

    async def run(self) -> None:
        """Make what is wanted until cancelled; what is not made then is made at the next look."""
        if self._writer is None:
            return
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work(self._writer))

    async def _work(self, writer: Writer) -> None:
        while True:
            case, language = await self._wanted.get()
            try:
                # What a customer edited or had erased meanwhile must not be in it.
                while not await self._make(writer, case, language):
                    pass
                self._known.pop((case.id, language), None)
            except (ChatModelError, ConversationChanged, StoreUnavailable) as error:
                logger.warning("no summary: %s", error, extra={"event": "summary_failed"})
                self._failed(case, language)
            except Exception:
                # A fault in here must not stop the answers to customers.
                logger.exception("no summary", extra={"event": "summary_failed"})
                self._failed(case, language)

    async def _make(self, writer: Writer, case: Case, language: Language | None) -> bool:
        """Sum a case up; False where what was read is not what was said any more."""
        read = await self._transcripts.transcript(case.conversation_id, limit=_READ)
        said = [
            HistoryMessage(one.role, hidden(one.text, self._slots))
            for one in read
            if str(one.kind) != "command"
        ]
        spoken = (one.text for one in reversed(said) if one.role == "customer")
        language = language or last_spoken(spoken) or language_of(case.question)
        # The case may have been read before another look had it summed up.
        if not needs_summary(said) or language in await self._store.languages(case):
            return True
        address = (await self._conversations.get(case.conversation_id)).address
        usage = Usage()
        with logging_context(channel=address.channel, conversation=str(case.conversation_id)):
            text = await summarised(
                writer.model, said, language=language, usage=usage, channel=address.channel
            )
            is_told = address.channel in self._help_desks
            note = summary_note(text, language) if is_told else ""
            texts = {one.id: one.text for one in read}
            if not await self._store.save(case, language, text, read=texts, note=note):
                return False
            details = {"event": "case_summarised", "usage": usage.as_data()}
            logger.info("case %d summed up", case.id, extra=details)
            return True

    def _is_known(self, key: _Key) -> bool:
        if key not in self._known:
            return False
        since = self._known[key]
        now = asyncio.get_running_loop().time()
        return since is None or now - since < AGAIN_SECONDS

    def _failed(self, case: Case, language: Language | None) -> None:
        self._known[(case.id, language)] = asyncio.get_running_loop().time()
