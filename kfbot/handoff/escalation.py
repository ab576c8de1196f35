"""When a customer gets a person whatever the bot knows, and what is said while nobody is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from kfbot.conversation import Conversation, HandoffReason, State, Turn
from kfbot.handoff.closing_times import closed_text, handoff_text
from kfbot.handoff.grievances import LastTurn, asks_again, complains, has_keyword, is_angry
from kfbot.handoff.limits import nobody_comes
from kfbot.handoff.settings import HandoffSettings
from kfbot.language import language_of
from kfbot.store.assignment import SAME_MATTER
from kfbot.store.conversations import ConversationStore
from kfbot.store.feedback import FeedbackStore
from kfbot.texts import texts, waiting_texts
from kfbot.turn import Outcome, Reply, outcome_of, person_turn

_CONTENT = ("answer", "clarify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Applies a channel's rules of handoff to what the bot is about to say."""

    #: `[handoff]`, and what each channel makes of it.
    common: HandoffSettings
    rules: Mapping[str, HandoffSettings]
    conversations: ConversationStore
    feedback: FeedbackStore
    clock: Callable[[], datetime]

    async def stands_in(self, conversation: Conversation) -> bool:
        """True where the customer waits for a person, but the bot may answer meanwhile.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        if conversation.state is not State.WAITING:
            return False
        case = await self.conversations.open_case(conversation.id)
        return case is not None and nobody_comes(case, self._of(conversation), self.clock())

    def still_waiting(self, conversation: Conversation, outcome: Outcome) -> Outcome:
        """What the bot says while it stands in: answers; all else is kept for the agent.

        Args:
            conversation: As it is, the customer waiting.
            outcome: What the bot would do if the conversation were its own.
        """
        waiting = replace(outcome, before=conversation, after=conversation)
        if outcome.case_reason is None or outcome.turn is None:
            return waiting
        if outcome.turn.citations:
            # Part of it is answered, and the rest named as passed on.
            plain = tuple(replace(reply, kind="message") for reply in outcome.replies)
            return replace(waiting, case_reason=None, replies=plain)
        language = language_of(outcome.turn.text)
        text = self._kept(conversation, outcome.turn)
        turn = replace(outcome.turn, text=text or waiting_texts(language).noted)
        return replace(waiting, turn=turn, case_reason=None, replies=(Reply(text=turn.text),))

    def _kept(self, conversation: Conversation, turn: Turn) -> str:
        """To who asks for a person once more: when one is there."""
        hours, now = self._of(conversation).business_hours, self.clock()
        if turn.reason != "asked_for_person" or hours.is_open(now):
            return ""
        return closed_text(hours, now, language_of(turn.text))

    async def is_grievance(
        self, conversation: Conversation, words: str, last: LastTurn | None
    ) -> bool:
        """True where a person is to be got whatever an answer would say; see `reconsidered`.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._grievance(conversation, None, words, last) is not None

    def is_outburst(self, channel: str, words: str) -> bool:
        """True where words that belong to no conversation call for a person all the same."""
        rules = self.rules.get(channel, self.common)
        angry = rules.angry and is_angry(words)
        return angry or has_keyword(words, rules.keywords) or complains(words)

    async def reconsidered(self, outcome: Outcome, words: str, last: LastTurn | None) -> Outcome:
        """The outcome of a customer's question, or a handoff where the rules ask for a person.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        turn, before = outcome.turn, outcome.before
        is_settled = turn is not None and turn.decision == "handoff" and turn.reason != "unsure"
        if turn is None or turn.decision == "silent" or is_settled:
            return outcome
        if (reason := await self._grievance(before, turn, words, last)) is not None:
            if turn.decision == "handoff" and turn.citations:
                # Other questions of the message are answered.
                return replace(outcome, turn=replace(turn, reason=reason), case_reason=reason)
            return outcome_of(before, self._handed_off(turn, reason))
        rules, now = self._of(before), self.clock()
        if rules.repetitions and asks_again(words, turn, last, now):
            return self._again(outcome, turn)
        return outcome

    async def _grievance(
        self, conversation: Conversation, turn: Turn | None, words: str, last: LastTurn | None
    ) -> HandoffReason | None:
        """Why a person is to be got at once.

        Args:
            turn: None: not known yet; only what the words alone tell.
        """
        rules = self._of(conversation)
        if has_keyword(words, rules.keywords):
            return "keyword"
        if rules.angry and is_angry(words):
            return "angry"
        if complains(words):
            if conversation.state is State.CLOSED:
                resolved = await self.feedback.was_resolved(conversation.id, SAME_MATTER)
                return "reopened" if resolved else None
            return "not_helpful" if last is not None and last.decision in _CONTENT else None
        if not rules.repetitions or not asks_again(words, turn, last, self.clock()):
            return None
        assert last is not None
        asked_before = 1 + (last.reason == "repeated_question")
        if asked_before >= rules.repetitions or last.decision == "clarify":
            return "repeated_question"
        verdicts = await self.feedback.verdicts(conversation.id)
        return "not_helpful" if verdicts and verdicts[0].not_helpful else None

    def _handed_off(self, turn: Turn, reason: HandoffReason) -> Turn:
        """The handoff; what the bot would have said is the agent's draft."""
        language = language_of(turn.question)
        asked, helped = texts(language).handoff_asked, waiting_texts(language).not_helped
        text = asked if reason == "keyword" else helped
        return replace(turn, decision="handoff", reason=reason, text=text, citations=(), choices=())

    def _again(self, outcome: Outcome, turn: Turn) -> Outcome:
        """The same answer once more, with the way to a person."""
        offer = waiting_texts(language_of(turn.question)).repeated
        replies = tuple(replace(one, text=f"{one.text}\n\n{offer}") for one in outcome.replies)
        marked = replace(turn, reason="repeated_question")
        return replace(outcome, turn=marked, replies=replies)

    async def not_helpful_twice(self, conversation: Conversation, token: str) -> bool:
        """True where the answer before the one under this button did not help either.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        verdicts = await self.feedback.verdicts(conversation.id)
        tokens = [one.token for one in verdicts]
        if token not in tokens:
            return False
        earlier = verdicts[tokens.index(token) + 1 :]
        return bool(earlier) and earlier[0].not_helpful

    def gets_person(self, conversation: Conversation, asked: str, words: str) -> Outcome:
        """The handoff of a customer whom two answers did not help."""
        turn = person_turn(asked, texts(language_of(words)), "not_helpful")
        text = waiting_texts(language_of(words)).not_helped
        return outcome_of(conversation, replace(turn, text=text))

    def told(self, outcome: Outcome) -> Outcome:
        """Where a person was promised and nobody is there: when somebody is back."""
        turn, rules = outcome.turn, self._of(outcome.before)
        now = self.clock()
        if outcome.case_reason is None or turn is None or rules.business_hours.is_open(now):
            return outcome
        language = language_of(turn.text)
        text = handoff_text(turn.text, turn.reason, rules.business_hours, now, language)
        first, *rest = outcome.replies
        return replace(
            outcome,
            turn=replace(turn, text=text),
            replies=(replace(first, text=text), *rest),
        )

    def _of(self, conversation: Conversation) -> HandoffSettings:
        return self.rules.get(conversation.address.channel, self.common)
