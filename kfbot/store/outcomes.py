"""Commits what a turn led to, in one fenced transaction: inbox, turn, state, case, outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

import sqlalchemy as sa

from kfbot.adapter import Capabilities
from kfbot.cases.posts import handoff_note
from kfbot.conversation import Case, Conversation, HandoffReason, Turn
from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId, OutboundKind, Sender
from kfbot.shaping import shape, split
from kfbot.store import tables
from kfbot.store.action_memory import remember
from kfbot.store.assignment import assign_to_last
from kfbot.store.case_steps import take_step
from kfbot.store.cases import find_open_case, note_reply, open_case
from kfbot.store.consent import Notice, with_notice
from kfbot.store.conversations import (
    OwnerChange,
    add_address,
    change_owner,
    find_conversation_id,
    get_conversation,
    moved_with,
    save_conversation,
)
from kfbot.store.drafts import close_drafts_of, keep_drafts, said_instead, take_drafts
from kfbot.store.engine import Database
from kfbot.store.events import storable
from kfbot.store.feedback import press
from kfbot.store.hanging import hangs_under
from kfbot.store.jobs import add_asked_job
from kfbot.store.lanes import Lane, epochs_of_held
from kfbot.store.manners import move_pause, set_paused
from kfbot.store.notices import conversation_notice, notify
from kfbot.store.sayings import Saying, Words, say, say_all
from kfbot.store.work import StoredEvent
from kfbot.turn import Outcome, Reply


@dataclass(frozen=True, slots=True)
class _Finished:
    """Events, and what came of them."""

    lane: Lane
    events: tuple[StoredEvent, ...]
    outcome: Outcome
    capabilities: Capabilities


class OutcomeStore:
    """Writes the results of turns and the words of agents."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        notices: Mapping[str, Notice] = MappingProxyType({}),
    ) -> None:
        """`notices`: what customers are told before their first answer, by channel."""
        self._database = database
        self._clock = clock
        self._notices = notices

    async def commit(
        self,
        lane: Lane,
        events: Sequence[StoredEvent],
        outcome: Outcome,
        capabilities: Capabilities,
    ) -> Case | None:
        """Finish `events` with `outcome`; returns the case that it opened.

        If an agent took the conversation meanwhile, the events are finished all the same,
        but nothing of what the bot wanted to say or change.

        Raises:
            ConversationChanged: Another worker has the lane; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """
        finished = _Finished(lane, tuple(events), outcome, capabilities)
        lanes = [lane.conversation_id]
        if outcome.case_step is not None:
            lanes.append(outcome.case_step.conversation_id)
        return await self._database.write_together(self._commit, finished, lanes=lanes)

    def _commit(
        self, connection: sa.Connection, items: Sequence[_Finished]
    ) -> Sequence[Case | Exception | None]:
        now = self._clock()
        epochs, drafted = epochs_of_held(connection, [item.lane for item in items])
        kept = [item for item in items if item.lane.key in epochs]
        drafts = take_drafts(connection, drafted)
        _finish(connection, [event for item in kept for event in item.events])
        sayings: list[Saying] = []
        results: list[Case | Exception | None] = []
        for item in items:
            number = item.lane.conversation_id
            if item.lane.key not in epochs:
                results.append(ConversationChanged(f"another worker took conversation {number}"))
                continue
            notify(connection, conversation_notice(number))
            item = _whoever_owns(connection, item, epochs[item.lane.key])
            if epochs[item.lane.key] == item.outcome.before.ownership_epoch:
                after, case = _apply(connection, item.outcome, now)
                _apply_command(connection, item, now)
                under = _hangs_under(connection, item)
                saying = _saying(_after_step(connection, item, now), after, under)
                draft = drafts.pop(number, None)
                saying = with_notice(
                    connection,
                    self._notices.get(after.address.channel),
                    saying,
                    item.events[-1].event,
                    now,
                    is_shown=draft is not None,
                )
                sayings.append(said_instead(connection, draft, saying, now))
                results.append(case)
            else:
                results.append(None)
        keep_drafts(connection, drafts.values(), now)
        say_all(connection, sayings, now)
        return results

    async def give_up(self, inbox_ids: Sequence[int]) -> None:
        """Mark events as dead: they will not be worked on again unless an operator says so.

        What another worker finished meanwhile stays finished.
        """
        inbox = tables.inbox
        ours = sa.and_(inbox.c.id.in_(inbox_ids), tables.is_waiting)
        dead = inbox.update().where(ours).values(state="dead")

        def operation(connection: sa.Connection) -> None:
            connection.execute(dead)
            close_drafts_of(connection, inbox_ids, self._clock())

        await self._database.write(operation)

    async def agent_says(
        self,
        conversation_id: int,
        agent: str,
        text: str,
        *,
        internal: bool = False,
        pushed: bool,
        text_length: int | None = None,
        shown_as: str | None = None,
        key: str | None = None,
    ) -> int:
        """Store an agent's words, to be sent unless internal; the agent claims by writing.

        Args:
            pushed: False where the channel's side fetches messages by itself.
            text_length: Longer texts go in parts; None: there is no limit.
            shown_as: What is read instead of the agent's login.
            key: The same key in the same conversation is the same message, stored once.

        Returns:
            The id of the message, or of its last part.

        Raises:
            ConversationChanged: Another agent has the conversation.
        """

        def operation(connection: sa.Connection) -> int:
            now = self._clock()
            conversation = get_conversation(connection, conversation_id)
            if key is not None and (said := _said(connection, conversation_id, key)) is not None:
                return said
            if not internal:
                conversation = change_owner(
                    connection, conversation_id, "claim", agent=agent, now=now
                )
                note_reply(connection, conversation_id, now)
            whole = storable(text)
            parts = [whole] if text_length is None or internal else split(whole, text_length)
            saying = Saying(
                conversation=conversation,
                sender=Sender(agent, "agent", storable(shown_as or agent)),
                words=tuple(Words(text=part) for part in parts),
                internal=internal,
                pushed=pushed and not internal,
                events=() if key is None else (key,),
            )
            return say(connection, saying, now)

        return await self._database.write(operation, lanes=(conversation_id,))

    async def tell_asker(self, job_id: str, text: str, *, pushed: bool, text_length: int) -> None:
        """Tell whoever waits for it how a job ended; once, whoever else is about to do so.

        Raises:
            StoreUnavailable: Nothing was told.
        """

        def operation(connection: sa.Connection) -> None:
            asker = tables.job_asker
            told = asker.delete().where(asker.c.job_id == job_id).returning(asker.c.conversation_id)
            if (conversation_id := connection.execute(told).scalar_one_or_none()) is None:
                return
            parts = split(storable(text), text_length)
            saying = Saying(
                conversation=get_conversation(connection, conversation_id),
                words=tuple(Words(text=part, is_aside=True) for part in parts),
                pushed=pushed,
            )
            say(connection, saying, self._clock())

        await self._database.write(operation)

    async def change_owner(
        self,
        conversation_id: int,
        change: OwnerChange,
        *,
        agent: str,
        notice: str,
        pushed: bool,
        only_own: bool = False,
    ) -> Conversation:
        """Let an agent claim, hand back or resolve; it never waits for a running turn.

        Args:
            notice: If any, the customer is told so.
            only_own: Not what another agent has.

        Raises:
            ConversationChanged: Somebody else was first.
        """

        def operation(connection: sa.Connection) -> Conversation:
            now = self._clock()
            after = change_owner(
                connection, conversation_id, change, agent=agent, now=now, only_own=only_own
            )
            notify(connection, conversation_notice(conversation_id))
            if notice:
                kind: OutboundKind = "handback" if change == "hand_back" else "resolved"
                words = (Words(text=notice, kind=kind),)
                say(connection, Saying(conversation=after, words=words, pushed=pushed), now)
            return after

        return await self._database.write(operation, lanes=(conversation_id,))


# Made once: to put a statement together costs more than to run it.
_FINISH = (
    tables.inbox.update()
    .where(tables.inbox.c.id.in_(sa.bindparam("events", expanding=True)))
    .values(state="done")
)


def _said(connection: sa.Connection, conversation_id: int, key: str) -> int | None:
    """The last part of what was said under this key."""
    message = tables.message.c
    query = sa.select(sa.func.max(message.id)).where(
        message.conversation_id == conversation_id, message.event_id == key
    )
    found: int | None = connection.execute(query).scalar_one()
    return found


def _apply(
    connection: sa.Connection, outcome: Outcome, now: datetime
) -> tuple[Conversation, Case | None]:
    """Change state, owner and case; returns the conversation as it is now and a new case."""
    after, opened = outcome.after, None
    if outcome.owner_change is not None:
        change, agent = outcome.owner_change
        # Another agent was first: the event is over all the same.
        with suppress(ConversationChanged):
            after = change_owner(connection, after.id, change, agent=agent, now=now)
    elif outcome.after != outcome.before:
        save_conversation(connection, after, now)
    if outcome.moved_to is not None:
        _move(connection, after.id, outcome.moved_to)
        move_pause(connection, outcome.before.address, outcome.moved_to, now)
    if outcome.case_reason is not None and outcome.turn is not None:
        opened = find_open_case(connection, after.id) or _open(
            connection, after.id, outcome.case_reason, outcome.turn, now
        )
    if outcome.remembered is not None:
        remember(connection, after, outcome.remembered, now)
    if outcome.pressed is not None:
        press(connection, after.id, outcome.pressed, now)
    return after, opened


def _open(
    connection: sa.Connection, number: int, reason: HandoffReason, turn: Turn, now: datetime
) -> Case:
    case = open_case(
        connection,
        number,
        reason,
        now,
        question=turn.question,
        draft=turn.context,
        knowledge_base=turn.knowledge_base,
        turn=turn,
    )
    assign_to_last(connection, number, now)
    return case


def _apply_command(connection: sa.Connection, item: _Finished, now: datetime) -> None:
    """What an admin told the machine to do."""
    conversation, owner = item.outcome.before, item.lane.owner
    if item.outcome.pause is not None:
        set_paused(connection, conversation.address, item.outcome.pause, now)
    if item.outcome.load is not None:
        add_asked_job(connection, item.outcome.load.job_id, owner, conversation.id, now)


def _whoever_owns(connection: sa.Connection, item: _Finished, epoch: int) -> _Finished:
    """What an admin commanded, said under the owner of now; all else as it was made."""
    if not item.outcome.is_command or epoch == item.outcome.before.ownership_epoch:
        return item
    now = get_conversation(connection, item.lane.conversation_id)
    return replace(item, outcome=replace(item.outcome, before=now, after=now))


def _after_step(connection: sa.Connection, item: _Finished, now: datetime) -> _Finished:
    """Do what an agent did to a case; what cannot be done is said instead of all else."""
    step = item.outcome.case_step
    if step is None:
        return item
    refused = take_step(connection, step, item.events[-1].event, now)
    if not refused:
        return item
    replies = (Reply(text=refused, is_aside=True),)
    return replace(item, outcome=replace(item.outcome, replies=replies))


def _hangs_under(connection: sa.Connection, item: _Finished) -> str | None:
    if not item.capabilities.replies or not item.outcome.replies:
        return None
    return hangs_under(connection, item.lane.conversation_id, item.events)


def _saying(item: _Finished, after: Conversation, under: str | None) -> Saying:
    """The turn and the bot's words, as they are to be written."""
    return Saying(
        conversation=after,
        words=tuple(words for reply in item.outcome.replies for words in _parts(reply, item)),
        pushed=not item.capabilities.pulls_replies,
        turn=item.outcome.turn,
        events=tuple(stored.event.event_id for stored in item.events),
        in_reply_to=under,
    )


def _parts(reply: Reply, item: _Finished) -> list[Words]:
    """A reply as the channel can show it; citations, buttons and note come with its last part."""
    *first, last = shape(reply, item.capabilities)
    return [
        *(Words(text=text, kind=reply.kind, is_aside=reply.is_aside) for text in first),
        Words(
            text=last,
            kind=reply.kind,
            citations=reply.citations,
            buttons=reply.buttons,
            is_aside=reply.is_aside,
            note=_note(reply, item),
        ),
    ]


def _note(reply: Reply, item: _Finished) -> str:
    """What the agents of a help desk are told with a reply; "": there is none, or nothing."""
    turn, reason = item.outcome.turn, item.outcome.case_reason
    if not item.capabilities.help_desk or reply.kind != "handoff" or turn is None or reason is None:
        return ""
    return handoff_note(turn, reason)


def _finish(connection: sa.Connection, events: Sequence[StoredEvent]) -> None:
    ids = [event.inbox_id for event in events]
    if ids:
        connection.execute(_FINISH, {"events": ids})


def _move(connection: sa.Connection, conversation_id: int, address: ConversationId) -> None:
    # The new address may have been written to before the platform told us of the move.
    for number, place in moved_with(connection, conversation_id, address):
        if find_conversation_id(connection, place) is None:
            add_address(connection, number, place)
