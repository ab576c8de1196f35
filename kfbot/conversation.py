"""Conversation, case and turn, and how they change: pure rules, no I/O.

States: bot → waiting → agent → bot | closed. Every change of owner raises the ownership
epoch; what was made under an older epoch must not reach the customer any more. A thread of
agents about a case is a conversation too, which stays `thread` for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from kfbot.errors import ConversationChanged
from kfbot.knowledge_base import Passage, PassageKind
from kfbot.messages import Citation, ConversationId, Role

Decision = Literal["answer", "clarify", "handoff", "smalltalk", "silent"]
HandoffReason = Literal[
    "asked_for_person",
    "unsure",
    "not_helpful",
    "repeated_question",
    "keyword",
    "angry",
    "reopened",
    "error",
    "model_refused",
    "taken_by_agent",
    "action_failed",
    "action_stuck",
]
Language = Literal["zh", "en"]


class State(StrEnum):
    """Who owns a conversation."""

    #: The bot answers.
    BOT = "bot"
    #: Handed off; nobody has taken it yet; the bot is silent.
    WAITING = "waiting"
    #: An agent talks; the bot is silent.
    AGENT = "agent"
    #: Resolved; the next message of the customer starts with the bot again.
    CLOSED = "closed"
    #: No customer's: agents talk here, in a chat of theirs; the bot never speaks by itself.
    THREAD = "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation with one customer, or with a group that shares its context."""

    id: int
    address: ConversationId
    state: State = State.BOT
    ownership_epoch: int = 0
    #: Set while an agent owns the conversation.
    agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One handoff, from its opening to handback or resolution."""

    id: int
    conversation_id: int
    reason: HandoffReason
    question: str
    #: What the bot would have said; "" for nothing.
    draft: str = ""
    #: Where the best passage came from; "": none was found.
    knowledge_base: str = ""
    #: What the bot found, best first: title, heading, url, quote, score, knowledge_base.
    passages: tuple[Mapping[str, Any], ...] = ()
    #: The probability that it answered; None: no turn of the bot's opened the case.
    confidence: float | None = None
    opened_at: datetime
    #: The agent whom it was given to; others may claim it all the same.
    assigned_to: str | None = None
    assigned_at: datetime | None = None
    claimed_by: str | None = None
    #: Since when the customer has waited for somebody to claim it; None: since it was opened.
    waiting_since: datetime | None = None
    #: How often the customer was told that it takes longer.
    notices: int = 0
    #: When an agent first wrote to the customer.
    first_reply_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: Literal["resolved", "handed_back"] | None = None
    #: What a chat model says it is about, by language; "": nothing that was said.
    summary: Mapping[Language, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One earlier message, as context for a question."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A likely question offered to the customer."""

    #: The operator's id of the document or FAQ entry, unique in its knowledge base.
    id: str
    label: str
    #: "" where it is not known any more.
    knowledge_base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A customer's question and what the bot made of it."""

    #: What was searched for: the customer's words, made standalone.
    question: str
    decision: Decision
    #: Probability, 0 to 1, that the best passage answers.
    confidence: float
    text: str
    citations: tuple[Citation, ...] = ()
    choices: tuple[Choice, ...] = ()
    #: Text that the answer was made from.
    context: str = ""
    reason: HandoffReason | None = None
    #: For agents, what a handoff rests on: the best passages with their knowledge bases; the score
    #: is the rank score.
    seen: tuple[tuple[str, Citation], ...] = ()
    #: Knowledge base and document id, best first, at most 10.
    ranked: tuple[tuple[str, str], ...] = ()
    #: By kind of passage, then by name of the signal.
    evidence: Mapping[PassageKind, Mapping[str, float]] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    #: What an answer may be written from: first those that it was made of, one a citation.
    passages: tuple[Passage, ...] = ()
    #: What it took of a chat model, as `Usage.as_data`; "action": what was done, "offered": what
    #: may have been meant; or empty.
    usage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def knowledge_base(self) -> str:
        """Where the best passage came from; "": none was found."""
        return self.ranked[0][0] if self.ranked else ""

    def as_data(self) -> dict[str, Any]:
        """The `data` of `POST /api/v1/ask`."""
        return {
            "text": self.text,
            "context": self.context,
            "question": self.question,
            "decision": self.decision,
            "confidence": round(self.confidence, 4),
            "choices": [{"id": choice.id, "label": choice.label} for choice in self.choices],
            "citations": [
                {
                    "id": citation.id,
                    "title": citation.title,
                    "heading": citation.heading,
                    "url": citation.url,
                    "quote": citation.quote,
                    "score": round(citation.score, 4),
                }
                for citation in self.citations
            ],
        }


def bot_may_speak(conversation: Conversation) -> bool:
    """True where the bot owns the conversation; it takes a closed one up again."""
    return conversation.state in (State.BOT, State.CLOSED)


def hand_off(conversation: Conversation) -> Conversation:
    """The bot asks for an agent.

    Raises:
        ConversationChanged: The bot does not own the conversation.
    """
    if not bot_may_speak(conversation):
        raise ConversationChanged(f"conversation {conversation.id} is not the bot's")
    return _owned(conversation, State.WAITING, None)


def reopen(conversation: Conversation) -> Conversation:
    """The customer writes again after the matter was settled: the bot answers.

    Raises:
        ConversationChanged: It is not closed.
    """
    if conversation.state is not State.CLOSED:
        raise ConversationChanged(f"conversation {conversation.id} is not closed")
    return _owned(conversation, State.BOT, None)


def claim(conversation: Conversation, agent: str) -> Conversation:
    """An agent takes the conversation, from the queue or from the bot.

    Raises:
        ConversationChanged: Another agent has it, or it is no customer's.
    """
    _check_customers(conversation)
    if conversation.state is State.AGENT and conversation.agent != agent:
        raise ConversationChanged(f"conversation {conversation.id} is {conversation.agent}'s")
    if conversation.state is State.AGENT:
        return conversation
    return _owned(conversation, State.AGENT, agent)


def requeue(conversation: Conversation) -> Conversation:
    """The customer waits for another agent than the one who had the conversation.

    Raises:
        ConversationChanged: No agent has it.
    """
    if conversation.state is not State.AGENT:
        raise ConversationChanged(f"conversation {conversation.id} is not with an agent")
    return _owned(conversation, State.WAITING, None)


def hand_back(conversation: Conversation) -> Conversation:
    """The bot answers again.

    Raises:
        ConversationChanged: No agent has it and none is waited for.
    """
    if conversation.state not in (State.WAITING, State.AGENT):
        raise ConversationChanged(f"conversation {conversation.id} is not with an agent")
    return _owned(conversation, State.BOT, None)


def resolve(conversation: Conversation) -> Conversation:
    """The matter is settled.

    Raises:
        ConversationChanged: It is closed already, or it is no customer's.
    """
    _check_customers(conversation)
    if conversation.state is State.CLOSED:
        raise ConversationChanged(f"conversation {conversation.id} is closed already")
    return _owned(conversation, State.CLOSED, None)


def _check_customers(conversation: Conversation) -> None:
    if conversation.state is State.THREAD:
        raise ConversationChanged(f"conversation {conversation.id} is a thread of agents")


def _owned(conversation: Conversation, state: State, agent: str | None) -> Conversation:
    return replace(
        conversation,
        state=state,
        agent=agent,
        ownership_epoch=conversation.ownership_epoch + 1,
    )
