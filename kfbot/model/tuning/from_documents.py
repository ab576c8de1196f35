"""Cases and pairs from documents and code: a chat model asks and answers, passages prove it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TypeVar

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.conversation import Language
from kfbot.errors import ChatModelUnavailable, CompletionInvalid
from kfbot.grounding.prompting import NO_ANSWER, inert
from kfbot.knowledge_base import Passage
from kfbot.language import language_of
from kfbot.model.tuning.examples import Message, Pair, Split, TuningDataError
from kfbot.model.tuning.from_records import OpenQuestion
from kfbot.model.tuning.grounded import SHOWN, Case, Prompting, prove
from kfbot.model.tuning.known import Known, Mask, Shelf, key_of, searched
from kfbot.model.tuning.splitting import Splitter, fraction_of

#: Questions that are asked of a passage.
_QUESTIONS = 2
_QUESTION_TOKENS = 200
#: Characters below which a passage answers hardly anything.
_LEAST_PASSAGE = 60
#: So many completions one after the other that fail: the model is gone.
_MOST_FAILURES = 5
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)、）:：]|Q\d*[.:：])\s*")
#: Told how many of how many are done.
Tell = Callable[[int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Memory:
    """What the teacher has written, kept in a file: a build that was broken off goes on.

    Raises:
        TuningDataError: The file cannot be read or written.
    """

    path: Path
    _known: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise TuningDataError(f"{self.path} cannot be read: {error}") from error
        for line in lines:
            # The last line of a build that was killed may be half.
            try:
                row = json.loads(line)
                self._known[row["prompt"]] = row["text"]
            except (ValueError, KeyError, TypeError):
                continue

    def find(self, key: str) -> str | None:
        """What was written for a prompt, if anything."""
        return self._known.get(key)

    def keep(self, key: str, text: str) -> None:
        """Remember a completion."""
        self._known[key] = text
        line = json.dumps({"prompt": key, "text": text}, ensure_ascii=False)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                # Behind what a killed build may have left half written.
                file.write(f"\n{line}\n")
        except OSError as error:
            raise TuningDataError(f"{self.path} cannot be written: {error.strerror}") from error


@dataclass(slots=True)
class Teacher:
    """Has the configured chat model write questions, and answers as it answers customers."""

    model: ChatModel
    #: As the operator knows it: another model's completions are not taken for its.
    name: str
    prompting: Prompting
    shelves: Mapping[Split, Shelf]
    splitter: Splitter
    mask: Mask
    memory: Memory
    left_out: Counter[str]
    usage: Usage = field(default_factory=Usage)
    _failures: int = 0

    async def read(
        self, known: Sequence[Known], limit: int | None, tell: Tell
    ) -> tuple[list[Case], list[Pair]]:
        """Ask and answer what passages say.

        Args:
            limit: So many passages at most, always the same ones of the same documents.

        Raises:
            ChatModelUnavailable: The model is gone; what it wrote is kept for the next time.
            TuningDataError: What it wrote cannot be kept.
        """
        passages = [
            passage
            for one in known
            if one.kind == "document"
            for passage in one.passages
            if len(passage.text.strip()) >= _LEAST_PASSAGE
        ]
        if limit is not None and len(passages) > limit:
            seed = self.prompting.seed
            order = sorted(passages, key=lambda one: fraction_of(_place(one), seed))
            passages = order[:limit]
        made = await self._each(passages, self._read_passage, tell)
        pairs = [
            Pair(
                query=question,
                positive=searched(passage),
                kind="document",
                source="documents",
                document=key_of(passage),
            )
            for passage, found in zip(passages, made, strict=True)
            for question, _ in found
        ]
        return [case for found in made for _, case in found if case is not None], pairs

    async def settle(self, questions: Sequence[OpenQuestion], tell: Tell) -> list[Case]:
        """Answer what the bot left to a person, or refuse it, as it does.

        What the bot was unsure of and the teacher refuses is taken for unanswerable.

        Raises:
            ChatModelUnavailable: The model is gone; what it wrote is kept for the next time.
            TuningDataError: What it wrote cannot be kept.
        """
        made = await self._each(questions, self._settle, tell)
        return [case for case in made if case is not None]

    async def _each(
        self,
        items: Sequence[_Item],
        work: Callable[[_Item], Awaitable[_Result]],
        tell: Tell,
    ) -> list[_Result]:
        """Work on several at the same time; results in their order."""
        gate = asyncio.Semaphore(min(self.prompting.settings.parallel, 16))
        done = 0

        async def one(item: _Item) -> _Result:
            nonlocal done
            async with gate:
                result = await work(item)
            done += 1
            tell(done, len(items))
            return result

        tell(0, len(items))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in items]
        except ExceptionGroup as failed:
            # The first says what is wrong; the others were cancelled, or say the same.
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _read_passage(self, passage: Passage) -> list[tuple[str, Case | None]]:
        language = language_of(passage.text)
        prompt = [
            ChatMessage("system", _template(language).substitute(count=_QUESTIONS)),
            ChatMessage("user", f"<passage>\n{inert(searched(passage))}\n</passage>"),
        ]
        found: list[tuple[str, Case | None]] = []
        for question in questions_in(await self._complete(prompt, _QUESTION_TOKENS), language):
            found.append((question, await self._answer(question, passage)))
        return found

    async def _answer(self, question: str, right: Passage) -> Case | None:
        shelf = self.shelves[self.splitter.of_document(key_of(right))]
        arranged = self.prompting.arrange(question, [right], shelf)
        made = self.prompting.prompt(question, arranged, [right])
        if made is None:
            self.left_out["too long"] += 1
            return None
        text = await self._write(made[0])
        if not text or NO_ANSWER in text:
            self.left_out["teacher did not answer"] += 1
            return None
        said, unproven = prove(text, made[1])
        if all(one.passage.chunk_id != right.chunk_id for one in said):
            self.left_out["teacher's answer is not in the passage"] += 1
            return None
        if unproven:
            self.left_out["teacher's answer is in part not in the passages"] += 1
        return Case(
            question=question,
            source="documents",
            said=said,
            rejected=text if unproven else "",
            is_example=not unproven,
            document=key_of(right),
        )

    async def _settle(self, one: OpenQuestion) -> Case | None:
        split = self.splitter.place("", one.conversation)
        assert split is not None
        passages = self.prompting.arrange(one.question, (), self.shelves[split])
        made = self.prompting.prompt(one.question, passages[:SHOWN], ()) if passages else None
        if made is None:
            return None
        text = await self._write(made[0])
        if NO_ANSWER in text:
            return Case(
                question=one.question,
                source="unanswerable",
                rejected=one.rejected,
                conversation=one.conversation,
            )
        said, unproven = prove(text, made[1])
        if unproven or not said:
            self.left_out["teacher's answer is not in the passage"] += 1
            return None
        return Case(
            question=one.question,
            source="feedback",
            said=said,
            rejected=one.rejected,
            document=key_of(said[0].passage),
            conversation=one.conversation,
        )

    async def _write(self, prompt: Iterable[Message]) -> str:
        messages = [
            ChatMessage(one["role"], one["content"])  # type: ignore[arg-type]
            for one in prompt
        ]
        return await self._complete(messages, self.prompting.settings.answer_tokens)

    async def _complete(self, prompt: Sequence[ChatMessage], max_tokens: int) -> str:
        """A completion with private data masked; "" where the model failed this once."""
        said = json.dumps([self.name, max_tokens, *((one.role, one.text) for one in prompt)])
        key = sha256(said.encode()).hexdigest()
        if (known := self.memory.find(key)) is not None:
            return known
        try:
            pieces = self.model.complete(prompt, max_tokens=max_tokens, usage=self.usage)
            text = "".join([piece async for piece in pieces])
        except (ChatModelUnavailable, CompletionInvalid) as error:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise ChatModelUnavailable(
                    f"the chat model failed {self._failures} times in a row: {error}; the same"
                    " command goes on from here"
                ) from error
            self.left_out["teacher failed"] += 1
            return ""
        self._failures = 0
        (text,) = self.mask([text.strip()])
        self.memory.keep(key, text)
        return text


def questions_in(text: str, language: Language) -> list[str]:
    """The questions of a completion, one a line, each once."""
    lines = (_BULLET.sub("", line).strip().strip('"“”') for line in text.splitlines())
    found = dict.fromkeys(
        line
        for line in lines
        if 4 <= len(line) <= 300 and "<" not in line and language_of(line, language) == language
    )
    asked = [line for line in found if line.endswith(("?", "？"))]
    return asked[:_QUESTIONS]


@cache
def _template(language: Language) -> Template:
    file = files(__package__).joinpath(f"prompts/questions.{language}.md")
    return Template(file.read_text(encoding="utf-8"))


def _place(passage: Passage) -> str:
    # Not its id: chunks get new ones with each load.
    return f"{key_of(passage)}\0{passage.text}"
