"""Cases → the examples of a folder: filtered, each once, parted, refusal kept."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kfbot.grounding.prompting import NO_ANSWER
from kfbot.knowledge_base import Passage
from kfbot.language import language_of
from kfbot.model.tuning.examples import (
    SPLITS,
    ChatExample,
    Message,
    Pair,
    Preference,
    Split,
    TuningData,
    question_of,
)
from kfbot.model.tuning.grounded import Case, Prompting, marked, says, written
from kfbot.model.tuning.known import Known, Shelf
from kfbot.model.tuning.near import Seen
from kfbot.model.tuning.splitting import Splitter, fraction_of

#: Characters of a question and of an answer.
_QUESTION = range(3, 2001)
_ANSWER = range(2, 4001)
_LINK = re.compile(r"https?://\S+|www\.\S+")
#: What says nothing by itself, as all there is in an answer; letters alone are compared.
_EMPTY_WORDS = re.compile(
    r"(?:please|kindly|see|click|open|visit|here|this|the|link|our|website|page|at|on|for|more|"
    r"details|information|check|refer|to|thanks?|you|thank|ok|okay|yes|no|hello|hi|welcome|"
    r"请|您|你|点击|查看|参考|访问|以下|这个|链接|网址|官网|网站|详情|见|谢谢|好的|是的|不客气|您好|亲)*"
)


@dataclass(slots=True)
class Assembly:
    """Puts a folder together, and counts what it leaves out and why."""

    prompting: Prompting
    splitter: Splitter
    #: Passages by split: no prompt has one of another.
    shelves: Mapping[Split, Shelf]
    #: Share of the chat examples whose right answer is NO_ANSWER.
    unanswerable: float
    left_out: Counter[str] = field(default_factory=Counter)
    chat: defaultdict[Split, list[ChatExample]] = field(default_factory=lambda: defaultdict(list))
    preferences: defaultdict[Split, list[Preference]] = field(
        default_factory=lambda: defaultdict(list)
    )
    pairs: defaultdict[Split, list[Pair]] = field(default_factory=lambda: defaultdict(list))
    _seen: defaultdict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))

    def add(self, cases: Sequence[Case]) -> None:
        """Make what can be made of cases; of two that are alike the first one counts."""
        answered: defaultdict[Split, list[Case]] = defaultdict(list)
        for case in cases:
            if (reason := fault_of(case.question, case.answer if case.said else None)) is not None:
                self.left_out[reason] += 1
            elif not self._is_new(case):
                self.left_out["said before"] += 1
            elif (split := self.splitter.place(case.document, case.conversation)) is None:
                self.left_out["conversation of another split"] += 1
            elif not case.said:
                self._refuse(case, split)
            elif self._answer(case, split) and case.is_example:
                answered[split].append(case)
        for split in SPLITS:
            self._ask_elsewhere(answered[split], split)

    def add_imported(self, examples: Sequence[ChatExample]) -> None:
        """Take examples of others as they are."""
        for example in examples:
            question, answer = question_of(example), example.messages[-1]["content"]
            checked = None if answer == NO_ANSWER else answer
            if (reason := fault_of(question, checked)) is not None:
                self.left_out[reason] += 1
            elif not self._seen["chat"].is_new(f"{question}\n{answer}"):
                self.left_out["said before"] += 1
            else:
                split = self.splitter.place("", example.conversation)
                assert split is not None
                self.chat[split].append(example)

    def add_pair(self, pair: Pair) -> None:
        """Take a pair for the embedding model."""
        if fault_of(pair.query, None) is not None or pair.query == pair.positive:
            self.left_out["no pair"] += 1
            return
        split = self.splitter.place(pair.document, pair.conversation)
        if split is None:
            self.left_out["conversation of another split"] += 1
        elif not self._seen["pairs"].is_new(f"{pair.query}\n{pair.positive}"):
            self.left_out["said before"] += 1
        else:
            self.pairs[split].append(pair)

    def data(self) -> TuningData:
        """What there is so far."""
        return TuningData(self.chat, self.preferences, self.pairs)

    def _is_new(self, case: Case) -> bool:
        kind = "chat" if case.is_example else "comparison"
        return self._seen[kind].is_new(f"{case.question}\n{case.answer}")

    def _answer(self, case: Case, split: Split) -> bool:
        """Add the example and the comparison of a case; False where its prompt is too long."""
        made = self._prompt(case, split)
        if made is None:
            self.left_out["too long"] += 1
            return False
        prompt, passages = made
        answer = written(case.said, passages)
        if case.is_example:
            self._chat(case, split, prompt, answer)
        if case.rejected:
            number = 1 + passages.index(case.passages[0])
            self._compare(case, split, prompt, answer, marked(case.rejected, number))
        return True

    def _ask_elsewhere(self, cases: Sequence[Case], split: Split) -> None:
        """Ask some of the questions again with passages of other documents alone.

        Comparisons say both: better NO_ANSWER than what no passage says, and better the answer
        than NO_ANSWER where a passage has it; else a model learns to refuse everything.
        """
        share = self.unanswerable
        wanted = round(share / (1 - share) * len(self.chat[split])) if share < 1 else 0
        wanted -= self._refused(split)
        for case in sorted(cases, key=lambda one: fraction_of(one.question, self.prompting.seed)):
            if wanted <= 0:
                return
            if not self._refuse(replace(case, rejected=case.answer), split):
                continue
            wanted -= 1
            if (made := self._prompt(case, split)) is not None:
                self._compare(case, split, made[0], written(case.said, made[1]), NO_ANSWER)

    def _refuse(self, case: Case, split: Split) -> bool:
        """Ask a question where no passage answers; False where none is left beside it."""
        others = self.prompting.arrange(case.question, (), self.shelves[split], without=_own(case))
        told = [one.sentence for one in case.said]
        if told:
            others = [one for one in others if not all(says(one, sentence) for sentence in told)]
        made = self.prompting.prompt(case.question, others, (), case.history) if others else None
        if made is None:
            self.left_out["nothing to refuse from"] += 1
            return False
        refused = replace(case, source="unanswerable")
        self._chat(refused, split, made[0], NO_ANSWER)
        if case.rejected:
            self._compare(refused, split, made[0], NO_ANSWER, marked(case.rejected, 1))
        return True

    def _refused(self, split: Split) -> int:
        return sum(one.source == "unanswerable" for one in self.chat[split])

    def _prompt(self, case: Case, split: Split) -> tuple[tuple[Message, ...], list[Passage]] | None:
        """The prompt of a question that its passages answer, and those that it has."""
        shelf, right = self.shelves[split], case.passages
        arranged = self.prompting.arrange(case.question, right, shelf, without=_own(case))
        return self.prompting.prompt(case.question, arranged, right, case.history)

    def _chat(self, case: Case, split: Split, prompt: Sequence[Message], answer: str) -> None:
        self.chat[split].append(
            ChatExample(
                messages=(*prompt, _assistant(answer)),
                source=case.source,
                conversation=case.conversation,
                document=case.document,
            )
        )

    def _compare(
        self, case: Case, split: Split, prompt: Sequence[Message], chosen: str, rejected: str
    ) -> None:
        if split == "test" or chosen.split() == rejected.split():
            return
        self.preferences[split].append(
            Preference(
                prompt=tuple(prompt),
                chosen=(_assistant(chosen),),
                rejected=(_assistant(rejected),),
                source=case.source,
                conversation=case.conversation,
                document=case.document,
            )
        )


def fault_of(question: str, answer: str | None) -> str | None:
    """Why a question, or its answer, is of no use; None: it is. None for an answer: it has none."""
    if len(question.strip()) not in _QUESTION:
        return "question too short or too long"
    if answer is None:
        return None
    if len(answer.strip()) not in _ANSWER:
        return "answer too short or too long"
    rest = _LINK.sub("", answer)
    letters = "".join(one for one in rest.casefold() if one.isalnum() or one.isspace())
    if not _EMPTY_WORDS.sub("", "".join(letters.split())):
        return "answer says nothing, or only a link"
    if language_of(question) != language_of(answer, language_of(question)):
        return "answer in another language"
    return None


def shelves_of(known: Sequence[Known], splitter: Splitter) -> dict[Split, Shelf]:
    """The passages of each split, to be searched."""
    parted: dict[Split, list[Passage]] = {split: [] for split in SPLITS}
    for one in known:
        parted[splitter.of_document(one.key)] += one.passages
    return {split: Shelf(passages) for split, passages in parted.items()}


def _own(case: Case) -> set[str]:
    return {case.document} if case.document else set()


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
