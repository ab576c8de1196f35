"""Prompts and answers of examples: as kfbot asks, and only what a passage says."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kfbot.conversation import HistoryMessage
from kfbot.grounding.prompting import NO_ANSWER, answer_prompt, inert
from kfbot.grounding.sentences import SentenceStream
from kfbot.grounding.support import check
from kfbot.knowledge_base import Passage
from kfbot.language import language_of
from kfbot.model.tuning.examples import Message, Source
from kfbot.model.tuning.known import Shelf, key_of
from kfbot.model_settings import AnswerSettings, ChatModelSettings

#: Passages of a prompt, as a turn of the bot's has them.
SHOWN = 6
_MARK = re.compile(r"\s*\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, with the spaces around it, and the passage that says so."""

    sentence: str
    passage: Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question, and what is known of good and bad answers to it."""

    question: str
    source: Source
    #: The right answer; empty: no passage has one.
    said: tuple[Said, ...] = ()
    #: A worse answer; "" where none is known.
    rejected: str = ""
    #: False: it is good for a comparison alone.
    is_example: bool = True
    history: tuple[HistoryMessage, ...] = ()
    #: `Known.key` of the document that the question is about; "" for none.
    document: str = ""
    conversation: str = ""

    @property
    def passages(self) -> list[Passage]:
        """What the right answer rests on, each once."""
        return list({one.passage.chunk_id: one.passage for one in self.said}.values())

    @property
    def answer(self) -> str:
        """The right answer without citations."""
        return "".join(one.sentence for one in self.said).strip()


def prove(answer: str, passages: Sequence[Passage]) -> tuple[tuple[Said, ...], int]:
    """The sentences that a passage says, and how many none does.

    A passage that a sentence names by its mark is looked at first.
    """
    stream = SentenceStream()
    said: list[Said] = []
    unproven = 0
    for sentence in [*stream.feed(answer), *stream.close()]:
        words = _MARK.sub("", sentence)
        if not words.strip():
            continue
        named = [int(number) - 1 for number in _MARK.findall(sentence)]
        first = [passages[place] for place in named if 0 <= place < len(passages)]
        for passage in [*first, *passages]:
            if says(passage, words):
                said.append(Said(words, passage))
                break
        else:
            unproven += 1
    return tuple(said), unproven


def says(passage: Passage, sentence: str) -> bool:
    """Whether a passage says a sentence, which bears no marks."""
    if sentence.strip() in passage.text:
        return True
    known = f"{passage.title}\n{passage.heading}\n{passage.text}"
    return check(sentence.strip(), known) == "supported"


@dataclass(frozen=True, slots=True)
class Prompting:
    """Writes prompts as the bot with these settings does."""

    settings: ChatModelSettings
    style: AnswerSettings
    seed: int = 0

    def arrange(
        self,
        question: str,
        right: Sequence[Passage],
        shelf: Shelf,
        *,
        without: Collection[str] = (),
    ) -> list[Passage]:
        """The right passages among others like them, in an order that says nothing.

        Args:
            without: Keys of documents that must not be among the others.
        """
        own = {*without, *(key_of(one) for one in right)}
        others = shelf.nearest(question, max(SHOWN - len(right), 0), without=own)
        chosen = [*right, *others]
        random.Random(f"{self.seed}\0{question}").shuffle(chosen)  # noqa: S311 (no secret)
        return chosen

    def prompt(
        self,
        question: str,
        passages: Sequence[Passage],
        right: Sequence[Passage],
        history: Sequence[HistoryMessage] = (),
    ) -> tuple[tuple[Message, ...], list[Passage]] | None:
        """The prompt and its passages, of those that are given; None: the right ones are too long.

        What has no room is left out, the right ones never.
        """
        kept = list(passages)
        for _ in range(len(kept) + 1):
            messages, shown = answer_prompt(
                question,
                kept,
                history=history,
                language=language_of(question),
                style=self.style,
                budget_tokens=self.settings.context_tokens - self.settings.answer_tokens,
            )
            if shown == len(kept):
                rows = tuple({"role": one.role, "content": one.text} for one in messages)
                return rows, kept
            spare = [one for one in kept if one not in right]
            if not spare:
                return None
            kept.remove(spare[-1])
        return None


def written(said: Sequence[Said], passages: Sequence[Passage]) -> str:
    """An answer with the marks of its citations; NO_ANSWER where nothing is said."""
    numbers = {one.chunk_id: number for number, one in enumerate(passages, start=1)}
    parts = []
    for one in said:
        # As the model reads it: it copies what it is shown.
        sentence = inert(one.sentence)
        words = sentence.rstrip()
        space = sentence[len(words) :]
        parts.append(f"{words}[{numbers[one.passage.chunk_id]}]{space}")
    return "".join(parts).strip() or NO_ANSWER


def marked(answer: str, number: int) -> str:
    """A worse answer with a mark behind each sentence: its form must not give it away."""
    stream = SentenceStream()
    parts = []
    for sentence in [*stream.feed(answer), *stream.close()]:
        words = inert(_MARK.sub("", sentence))
        kept = words.rstrip()
        parts.append(f"{kept}[{number}]{words[len(kept) :]}" if kept else words)
    return "".join(parts).strip()
