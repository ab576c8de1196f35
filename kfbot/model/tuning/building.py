"""Makes a folder of examples: records, documents, a teacher and what others wrote, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kfbot import __version__
from kfbot.chat_model import ChatModel
from kfbot.model.tuning.assembling import Assembly, shelves_of
from kfbot.model.tuning.examples import (
    TEACHER,
    ChatExample,
    Manifest,
    Pair,
    TuningDataError,
    write_folder,
)
from kfbot.model.tuning.from_documents import Memory, Teacher
from kfbot.model.tuning.from_records import (
    RecordReader,
    Records,
    cases_of_entries,
    pairs_of_entries,
)
from kfbot.model.tuning.grounded import Case, Prompting
from kfbot.model.tuning.known import Known, Mask, Shelf, searched
from kfbot.model.tuning.splitting import Splitter
from kfbot.model_settings import AnswerSettings, ChatModelSettings

#: (stage, done, total)
Progress = Callable[[str, int, int], None]
#: Beside a pair so many texts of other documents that share its words.
_NEGATIVES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What examples are made of."""

    known: Sequence[Known] = ()
    records: Records
    imported: Sequence[ChatExample] = ()
    #: Writes questions and answers; None: nobody does.
    teacher: ChatModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How they are made."""

    folder: Path
    settings: ChatModelSettings
    style: AnswerSettings
    mask: Mask
    #: The teacher is shown so many passages at most; None: all.
    limit: int | None = None
    #: Share of the chat examples whose right answer is NO_ANSWER, from 0 up to 0.9.
    unanswerable: float = 0.2
    seed: int = 0


async def build(material: Material, plan: Plan, progress: Progress) -> Manifest:
    """Make the examples and write them into the folder.

    Raises:
        ChatModelUnavailable: The teacher is gone; the same call goes on where this one ended.
        TuningDataError: The folder cannot be written, or there is nothing to write into it.
    """
    splitter, left_out = Splitter(plan.seed), Counter[str]()
    shelves = shelves_of(material.known, splitter)
    prompting = Prompting(plan.settings, plan.style, plan.seed)
    assembly = Assembly(prompting, splitter, shelves, plan.unanswerable, left_out)
    shelf = Shelf([passage for one in material.known for passage in one.passages])
    by_key = {one.key: one for one in material.known}
    reader = RecordReader(by_key, shelf, splitter, plan.mask, left_out)
    entries = [one for one in material.known if one.kind == "faq"]

    # What people said comes first: of two that are alike the first one counts.
    cases: list[Case] = list(reader.cases(material.records))
    pairs: list[Pair] = [*reader.pairs(material.records), *pairs_of_entries(entries)]
    for case in cases:
        splitter.place(case.document, case.conversation)
    if material.teacher is not None:
        memory = Memory(plan.folder / TEACHER)
        teacher = Teacher(
            material.teacher, plan.settings.model or plan.settings.base_url, prompting, shelves,
            splitter, plan.mask, memory, left_out,
        )  # fmt: skip
        cases += await teacher.settle(
            reader.open_questions(material.records),
            partial(progress, "Asking what was left open"),
        )
        read, asked = await teacher.read(
            material.known, plan.limit, partial(progress, "Asking about passages")
        )
        cases += read
        pairs += asked
    cases += cases_of_entries(entries)
    assembly.add(cases)
    assembly.add_imported([_masked(example, plan.mask) for example in material.imported])
    for pair in pairs:
        assembly.add_pair(_with_negatives(pair, shelves[splitter.of_document(pair.document)]))
    return _written(assembly, material, plan)


def _masked(example: ChatExample, mask: Mask) -> ChatExample:
    texts = mask([one["content"] for one in example.messages])
    messages = (
        {"role": one["role"], "content": text}
        for one, text in zip(example.messages, texts, strict=True)
    )
    return replace(example, messages=tuple(messages))


def _with_negatives(pair: Pair, shelf: Shelf) -> Pair:
    """The pair with hard negatives: what shares words with the question, of its own split."""
    others = shelf.nearest(pair.query, 2 * _NEGATIVES, without={pair.document})
    texts = [searched(one) for one in others if one.kind == pair.kind]
    same = {pair.query, pair.positive}
    return replace(pair, negatives=tuple(one for one in texts if one not in same)[:_NEGATIVES])


def _written(assembly: Assembly, material: Material, plan: Plan) -> Manifest:
    data = assembly.data()
    if not any(data.files().values()):
        raise TuningDataError(
            "there is nothing to make examples of: load documents (kfbot knowledge load), name"
            " a chat model in [chat_model] to ask and answer them, or give --import FILE"
        )
    chat = [one for part in data.chat.values() for one in part]
    refused = sum(one.source == "unanswerable" for one in chat)
    has_teacher = material.teacher is not None
    manifest = Manifest(
        left_out=dict(sorted(assembly.left_out.items())),
        seed=plan.seed,
        unanswerable_share=round(refused / len(chat), 4) if chat else 0.0,
        teacher=(plan.settings.model or plan.settings.base_url) if has_teacher else "",
        versions={"kfbot": __version__},
    )
    return write_folder(plan.folder, data, manifest)
