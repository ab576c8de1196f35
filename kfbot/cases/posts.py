"""What agents read in the thread of a case, and what their words there mean: pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kfbot.conversation import Case, Conversation, HandoffReason, Language, State, Turn
from kfbot.language import language_of, last_spoken
from kfbot.markup import plain
from kfbot.messages import Citation, OutboundKind
from kfbot.store.transcripts import TranscriptMessage
from kfbot.texts import ThreadTexts, command_texts, thread_texts
from kfbot.turn import NewButton

#: Of one message, and of the bot's draft, so many characters are shown.
SHOWN_LENGTH = 6000
#: Platforms cut longer titles of threads.
TITLE_LENGTH = 100
_NAME_LENGTH = 60
#: What a case is done with once it is shown as closed.
CLOSED = "closed"
#: Before a thread is opened its address has such a name in the place of the platform's.
_UNOPENED = "case-"

ThreadCommand = Literal["claim", "hand_back", "resolve", "help"]
_COMMANDS: dict[str, ThreadCommand] = {
    "claim": "claim",
    "resume": "hand_back",
    "resolve": "resolve",
    "help": "help",
}
_COMMAND = re.compile(r"\s*[/／!！]([a-z]+)(?:@\w+)?\s*", re.IGNORECASE)
# A path or a fraction is no command.
_SLASHED = re.compile(r"\s*[/／!！][a-z_]{2,}(?:@\w+)?(?:\s|$)", re.IGNORECASE)
_NOTE = re.compile(r"\s*(?://|／／|note\s*[:：]|备注\s*[:：])\s*(.*)", re.IGNORECASE | re.DOTALL)
_URL = re.compile(r"https?://[^\s<>]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseThread:
    """A case as it stands, and how much of it a thread shows."""

    #: Of the thread.
    conversation_id: int
    case: Case
    #: The customer's.
    conversation: Conversation
    customer_name: str
    shown_message_id: int
    shown_state: str

    @property
    def state(self) -> str:
        """Who has the case, as `case_thread.shown_state` says it."""
        if self.case.closed_at is not None:
            return CLOSED
        if self.conversation.state is State.AGENT:
            return f"agent {self.conversation.agent}"
        return f"for {self.case.assigned_to}" if self.case.assigned_to else "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What is shown next in a thread."""

    #: CommonMark; "": there is nothing.
    text: str
    buttons: tuple[NewButton, ...] = ()
    #: "message": the owner is the same as before.
    kind: OutboundKind = "message"


def unopened_thread(case_id: int) -> str:
    """What the address of a thread has for an id until the platform gives it one."""
    return f"{_UNOPENED}{case_id}"


def is_unopened(conversation: Conversation) -> bool:
    """True for a thread that its platform does not have yet."""
    thread = conversation.address.thread or ""
    return conversation.state is State.THREAD and thread.startswith(_UNOPENED)


def note_in(text: str) -> str | None:
    """The words of a note for other agents; None: they are for the customer."""
    found = _NOTE.fullmatch(text)
    return None if found is None else found[1].strip()


def command_in(text: str) -> ThreadCommand | Literal["unknown"] | None:
    """The command that an agent's words in a thread are; None: they are none.

    What looks like a command and is none must not go to a customer: "unknown".
    """
    found = _COMMAND.fullmatch(text)
    if found is not None and (known := _COMMANDS.get(found[1].lower())) is not None:
        return known
    return "unknown" if _SLASHED.match(text) else None


def goes_to_customer(text: str) -> bool:
    """True for words of an agent that are neither a note nor a command."""
    return bool(text.strip()) and note_in(text) is None and command_in(text) is None


def says_for(said: Sequence[TranscriptMessage], case: Case) -> ThreadTexts:
    """The texts in the language that the customer speaks."""
    spoken = (one.text for one in reversed(said) if one.role == "customer")
    return thread_texts(last_spoken(spoken) or language_of(case.question))


def title_of(thread: CaseThread) -> str:
    """What the thread is called: who has the case, who the customer is, what was asked."""
    says = thread_texts(language_of(thread.case.question))
    parts = [thread.customer_name, thread.case.question]
    named = " · ".join([f"#{thread.case.id}", *(one for one in map(_line, parts) if one)])
    form = says.title_waiting
    if thread.state == CLOSED:
        form = says.title_closed
    elif thread.conversation.state is State.AGENT:
        form = says.title_agent
    title = form.format(case=named, agent=thread.conversation.agent)
    return title if len(title) <= TITLE_LENGTH else title[: TITLE_LENGTH - 1].rstrip() + "…"


def post_of(thread: CaseThread, said: Sequence[TranscriptMessage], *, is_whole: bool) -> Post:
    """Everything that the thread does not show yet.

    Args:
        said: What was said since, oldest first.
        is_whole: False: more was said before them, which is not shown.
    """
    says = says_for(said, thread.case)
    is_new = not thread.shown_state
    parts = _opening(thread, says) if is_new else []
    if not is_whole:
        parts.append(says.earlier)
    parts += [shown for one in said if (shown := _said(one, says))]
    if is_new and thread.case.draft.strip():
        parts.append(f"{says.draft}\n{_quoted(thread.case.draft, says, is_markup=True)}")
    if thread.state != thread.shown_state and (news := _news(thread, says)):
        parts.append(news)
    kind, buttons = _kind_and_buttons(thread, says)
    return Post(text="\n\n".join(parts), kind=kind, buttons=buttons)


def handoff_note(turn: Turn, reason: HandoffReason) -> str:
    """What the agents of a help desk read about a handoff; the transcript they have.

    CommonMark: why a person is asked for, the question, what the bot would have said, and from
    what.
    """
    language = language_of(turn.text or turn.question)
    says = thread_texts(language)
    named = command_texts(language).names.get(reason, reason)
    parts = [says.handed_off.format(reason=named)]
    if turn.question.strip():
        parts.append(f"{says.question}\n{_quoted(turn.question, says, is_markup=False)}")
    if turn.context.strip():
        parts.append(f"{says.draft}\n{_quoted(turn.context, says, is_markup=True)}")
        parts += ["\n".join(found)] if (found := [_found(one) for _, one in turn.seen]) else []
    return "\n\n".join(parts)


def summary_note(text: str, language: Language) -> str:
    """What the agents of a help desk read of a summary; CommonMark."""
    says = thread_texts(language)
    return f"{says.summary}\n{_quoted(text, says, is_markup=False)}"


def _found(passage: Citation) -> str:
    named = " › ".join(one for one in (passage.title, passage.heading) if one) or passage.id
    # An address in angle brackets may not hold any.
    return f"- {plain(_line(named))}" + (f" <{passage.url}>" if _URL.fullmatch(passage.url) else "")


def _opening(thread: CaseThread, says: ThreadTexts) -> list[str]:
    language: Language = "zh" if says is thread_texts("zh") else "en"
    opened = says.opened.format(
        case=thread.case.id,
        reason=command_texts(language).names.get(thread.case.reason, thread.case.reason),
        customer=plain(_line(thread.customer_name)) or "–",
        channel=plain(thread.conversation.address.channel),
    )
    if not (summary := thread.case.summary.get(language, "")):
        return [opened]
    return [opened, f"{says.summary}\n{_quoted(summary, says, is_markup=False)}"]


def _said(message: TranscriptMessage, says: ThreadTexts) -> str:
    """A message with its writer in front; "" for one that was taken back."""
    files = [
        says.file.format(name=file.get("name") or file.get("media_type") or "?")
        for file in message.extras.get("attachments", ())
    ]
    text = "\n".join([message.text, *files]).strip()
    if not text:
        return ""
    roles = {"customer": says.customer, "bot": says.bot, "agent": says.agent}
    name = plain(_line(message.sender_name)) or roles[message.role]
    mark = f" ({says.note})" if message.internal else ""
    return f"**{name}**{mark}\n{_quoted(text, says, is_markup=message.role == 'bot')}"


def _quoted(text: str, says: ThreadTexts, *, is_markup: bool) -> str:
    """A text as a quotation; the bot and its documents write CommonMark, people do not."""
    shown = text.strip()[:SHOWN_LENGTH]
    lines = (shown if is_markup else plain(shown)).splitlines()
    if len(text.strip()) > SHOWN_LENGTH:
        lines.append(says.cut)
    return "\n".join(f"> {line}" for line in lines)


def _news(thread: CaseThread, says: ThreadTexts) -> str:
    """Who has the case now, where that is worth a word."""
    if thread.state == CLOSED:
        return says.resolved if thread.case.outcome == "resolved" else says.handed_back
    if thread.conversation.state is State.AGENT:
        return says.claimed.format(agent=plain(thread.conversation.agent or ""))
    if thread.case.assigned_to:
        return says.assigned.format(agent=plain(thread.case.assigned_to))
    return says.waiting if thread.shown_state else ""


def _kind_and_buttons(
    thread: CaseThread, says: ThreadTexts
) -> tuple[OutboundKind, tuple[NewButton, ...]]:
    kind: OutboundKind = "handoff" if thread.shown_state else "message"
    if thread.state == thread.shown_state:
        return "message", ()
    if thread.state == CLOSED:
        return "resolved" if thread.case.outcome == "resolved" else "handback", ()
    ending = (NewButton(says.hand_back, "hand_back"), NewButton(says.resolve, "resolve"))
    if thread.conversation.state is State.AGENT:
        return kind, ending
    return kind, (NewButton(says.claim, "claim"), *ending)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _NAME_LENGTH else line[: _NAME_LENGTH - 1].rstrip() + "…"
