"""One turn: what inbound events lead to. Reads; the store commits the outcome in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kfbot.actions.memory import Remembered
from kfbot.answer import Answering, answer_question, answered, written
from kfbot.chat_model import Usage
from kfbot.conversation import (
    Choice,
    Conversation,
    HandoffReason,
    HistoryMessage,
    Language,
    State,
    Turn,
    bot_may_speak,
    hand_off,
    reopen,
)
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.grounding.writing import OnText
from kfbot.knowledge_base import EVERYTHING, Scope
from kfbot.language import language_of
from kfbot.messages import ButtonAction, Citation, ConversationId, OutboundKind, Sender
from kfbot.templates import filled
from kfbot.texts import Texts, texts


@dataclass(frozen=True, slots=True)
class NewButton:
    """A button to be shown, with what it will do."""

    label: str
    action: ButtonAction
    #: choice: "knowledge base/document id".
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A message of the bot, to be stored and sent."""

    text: str
    kind: OutboundKind = "message"
    citations: tuple[Citation, ...] = ()
    buttons: tuple[NewButton, ...] = ()
    #: No part of what is talked about: the bot never reads it again.
    is_aside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Knowledge bases that somebody in a conversation wants loaded, and to be told of it."""

    job_id: str
    #: None: all of them.
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStep:
    """What an agent does to a case from its thread, in a chat of agents."""

    case_id: int
    #: The customer's.
    conversation_id: int
    agent: Sender
    #: None: a note for other agents.
    change: Literal["claim", "hand_back", "resolve"] | None
    #: The agent's words: to the customer, or the note.
    text: str = ""
    #: Told to the customer.
    notice: str = ""
    #: False: the customer's side fetches messages by itself.
    pushed: bool = True
    #: Longer texts go to the customer in parts; None: there is no limit.
    text_length: int | None = None
    #: Said in the thread where it cannot be done: another "{agent}" has it; the case is closed.
    taken: str = ""
    closed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that a turn changes; nothing of it is done before it is committed."""

    before: Conversation
    after: Conversation
    turn: Turn | None = None
    replies: tuple[Reply, ...] = ()
    #: Set where a case is to be opened.
    case_reason: HandoffReason | None = None
    #: Token of a button that was pressed.
    pressed: str | None = None
    moved_to: ConversationId | None = None
    #: Set where an agent took, gave back or resolved the conversation.
    owner_change: tuple[Literal["claim", "hand_back", "resolve"], str] | None = None
    #: Set where the bot was told to be silent in this chat, or to speak again (False).
    pause: bool | None = None
    #: Begun once the outcome is committed.
    load: Load | None = None
    #: What an admin commanded is done and said whoever owns the conversation by then.
    is_command: bool = False
    #: Done to another conversation, in the same transaction.
    case_step: CaseStep | None = None
    #: What an action keeps of the customer until the next message.
    remembered: Remembered | None = None


async def take_turn(
    conversation: Conversation,
    question: str,
    history: Sequence[HistoryMessage],
    answering: Answering,
    *,
    scope: Scope = EVERYTHING,
    on_text: OnText | None = None,
    last_question: str | None = None,
) -> Outcome:
    """Answer a customer, unless an agent is in charge: then the bot is silent."""
    if not bot_may_speak(conversation):
        turn = Turn(question=question, decision="silent", confidence=0.0, text="")
        return Outcome(before=conversation, after=conversation, turn=turn)
    turn = await answer_question(
        question,
        answering,
        history=history,
        scope=scope,
        channel=conversation.address.channel,
        on_text=on_text,
        last_question=last_question,
    )
    return outcome_of(conversation, turn)


async def chosen_turn(
    choice: Choice,
    answering: Answering,
    *,
    scope: Scope = EVERYTHING,
    asked: str = "",
    channel: str = "",
) -> Turn:
    """Answer with the entry that the customer chose among those offered.

    Args:
        asked: What the choices were offered for; "": nobody knows.
    """
    turn = await _chosen(choice, answering, scope, asked, channel)
    # What was said before the choices were offered is not looked through: it is asked for.
    return filled(turn, (), answering.slots, language_of(choice.label))


async def _chosen(
    choice: Choice, answering: Answering, scope: Scope, asked: str, channel: str
) -> Turn:
    language, writer = language_of(choice.label), answering.writer
    within = scope.only(choice.knowledge_base) if choice.knowledge_base else scope
    try:
        found = await answering.knowledge.search(
            choice.label, names=within.names, where=within.where
        )
    except KnowledgeBaseUnavailable:
        return person_turn(choice.label, texts(language), "error")
    for passage in found.passages:
        if (choice.knowledge_base or passage.knowledge_base, choice.id) == (
            passage.knowledge_base,
            passage.document_id,
        ):
            # The customer says so: nothing is surer.
            turn = answered(choice.label, replace(found, passages=(passage,)), 1.0)
            if writer is None:
                return turn
            question, usage = asked.rsplit("\n", 1)[-1] or choice.label, Usage()
            turn = await written(
                writer, turn, question, language_of(question, language), usage, channel=channel
            )
            return replace(turn, usage={**usage.as_data(), **turn.usage})
    return person_turn(choice.label, texts(language), "unsure")


def person_turn(question: str, says: Texts, reason: HandoffReason = "asked_for_person") -> Turn:
    """The turn that gets a person, without a search."""
    sentences = {"asked_for_person": says.handoff_asked, "error": says.handoff_error}
    return Turn(
        question=question,
        decision="handoff",
        confidence=0.0,
        text=sentences.get(reason, says.handoff),
        reason=reason,
    )


def outcome_of(conversation: Conversation, turn: Turn) -> Outcome:
    """What a decided turn changes."""
    language = language_of(turn.text)
    reply = Reply(text=turn.text, citations=turn.citations, buttons=_buttons(turn, language))
    if turn.decision != "handoff":
        after = reopen(conversation) if conversation.state is State.CLOSED else conversation
        return Outcome(before=conversation, after=after, turn=turn, replies=(reply,))
    return Outcome(
        before=conversation,
        after=hand_off(conversation),
        turn=turn,
        replies=(replace(reply, kind="handoff"),),
        case_reason=turn.reason or "unsure",
    )


def failed_turn(conversation: Conversation, question: str) -> Outcome:
    """What a turn that went wrong again and again comes to: a polite sentence and a person."""
    if not bot_may_speak(conversation):
        return Outcome(before=conversation, after=conversation)
    turn = person_turn(question, texts(language_of(question)), "error")
    return outcome_of(conversation, turn)


def _buttons(turn: Turn, language: Language) -> tuple[NewButton, ...]:
    says = texts(language)
    if turn.decision == "clarify":
        choices = tuple(
            NewButton(choice.label, "choice", f"{choice.knowledge_base}/{choice.id}")
            for choice in turn.choices
        )
        return (*choices, NewButton(says.none_of_these if choices else says.person, "person"))
    if turn.decision == "answer":
        return (
            NewButton(says.helpful, "helpful"),
            NewButton(says.not_helpful, "not_helpful"),
            NewButton(says.person, "person"),
        )
    return ()
