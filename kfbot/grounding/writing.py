"""Grounded answers: a chat model writes, and only what its passages say reaches the customer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from kfbot.chat_model import ChatModel, Usage
from kfbot.conversation import HistoryMessage, Language
from kfbot.errors import CompletionInvalid
from kfbot.grounding.prompting import NO_ANSWER, answer_prompt
from kfbot.grounding.sentences import SentenceStream
from kfbot.grounding.support import check
from kfbot.knowledge_base import Passage
from kfbot.model_settings import AnswerSettings, ChatModelSettings

#: Told the text of the answer so far each time it has grown; nothing in it is unchecked.
OnText = Callable[[str], Awaitable[None]]

_MARK = re.compile(r"\s*\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer of a chat model, every sentence of which a passage says."""

    #: With "[1]" behind what the first of the passages says.
    text: str
    #: Those that are cited, in the order of their numbers.
    passages: tuple[Passage, ...]
    #: Sentences that were taken out, by what their passage lacked.
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes answers with a chat model."""

    model: ChatModel
    settings: ChatModelSettings = field(default_factory=ChatModelSettings)
    style: AnswerSettings = field(default_factory=AnswerSettings)

    async def write(
        self,
        question: str,
        passages: Sequence[Passage],
        *,
        language: Language,
        usage: Usage,
        history: Sequence[HistoryMessage] = (),
        channel: str = "",
        on_text: OnText | None = None,
    ) -> Written | None:
        """Answer from passages, the best first; None: they do not answer.

        Raises:
            ChatModelUnavailable: There is no answer, or not all of it.
            CompletionInvalid: Nothing that the model wrote is in the passages.
        """
        prompt, shown = answer_prompt(
            question,
            passages,
            history=history,
            language=language,
            style=self.style,
            budget_tokens=self.model.context_tokens - self.settings.answer_tokens,
        )
        answer = _Answer(passages[:shown])
        stream = SentenceStream()
        pieces = self.model.complete(
            prompt, max_tokens=self.settings.answer_tokens, usage=usage, channel=channel
        )
        async for piece in pieces:
            for sentence in stream.feed(piece):
                if answer.add(sentence) and on_text is not None:
                    await on_text(answer.text)
        for sentence in stream.close():
            answer.add(sentence)
        if answer.refused:
            return None
        if not answer.text:
            raise CompletionInvalid("nothing of the answer is in the passages")
        cited = tuple(answer.passages[number] for number in answer.cited)
        return Written(text=answer.text, passages=cited, dropped=tuple(answer.dropped))


class _Answer:
    """What of a completion is good."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self.text = ""
        self.refused = False
        #: Places of the passages, in the order in which they were first cited.
        self.cited: list[int] = []
        self.dropped: list[str] = []

    def add(self, sentence: str) -> bool:
        """Take a sentence in if a passage says it; True where the text has grown."""
        if NO_ANSWER in sentence:
            self.refused = True
        if self.refused:
            return False
        words = _MARK.sub("", sentence)
        if not words.strip():
            return False
        named = [int(number) - 1 for number in _MARK.findall(sentence)]
        places = [place for place in named if 0 <= place < len(self.passages)]
        verdict = "words"
        for place in places or range(len(self.passages)):
            passage = self.passages[place]
            verdict = check(words, f"{passage.title}\n{passage.heading}\n{passage.text}")
            if verdict == "supported":
                if place not in self.cited:
                    self.cited.append(place)
                self.text += f"{words.rstrip()}[{self.cited.index(place) + 1}]"
                return True
        self.dropped.append(verdict)
        return False
