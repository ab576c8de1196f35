"""Question sets to fit the confidence on: public ones, and knowledge bases made from them.

From any FAQ with many variants two honest kinds of questions can be made: a variant that was
held back is in scope, and a variant of an entry that was taken out is near, but out of scope.
Likewise a passage that was taken out leaves its questions on topic and unanswered. From a
question that a passage answers, one is made by rule that it does not (`adversarial`).
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kfbot.knowledge_base import PassageKind
from knowledge.adversarial import adversarial

Scope = Literal["in", "near", "far"]
Row = Mapping[str, Any]
#: How the names of sets end whose unanswered questions were made from answered ones.
ADVERSARIAL = "_adversarial"
SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question and the ids that answer it; none: out of scope, near the field or far."""

    text: str
    gold: frozenset[str]
    scope: Scope


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A knowledge base and questions to it."""

    name: str
    #: Sets of one family share texts: they are left out together.
    family: str
    kind: PassageKind
    #: As in a JSONL source.
    knowledge: Sequence[Row]
    questions: Sequence[LabelledQuestion]


def training_sets(data: Path) -> Iterator[TrainingSet]:
    """All sets that the folder of public data gives."""
    far = [row for row in rows_of(data / "faq_en_banking77/queries.jsonl") if not row["gold_ids"]]
    strangers = [_question(row, frozenset()) for row in far]
    yield from _banking(data, strangers)
    yield from _covid(data)
    yield from _shop(strangers, _encyclopedia(data, "zh"))
    yield from _commands(data)
    yield from _translated_questions(data)
    yield from _documents(data, strangers)
    yield from _translated_documents(data)


def _banking(data: Path, strangers: Sequence[LabelledQuestion]) -> Iterator[TrainingSet]:
    folder = data / "faq_en_banking77"
    ten, every = rows_of(folder / "kb_10shot.jsonl"), rows_of(folder / "kb_all.jsonl")
    asked = rows_of(folder / "queries.jsonl")
    near = set(json.loads((folder / "near_oos_intents.json").read_text("utf-8"))["ids"])
    yield _set("banking", "banking", "faq", ten, asked)
    fewer = [row for row in ten if row["id"] not in near]
    yield _set("banking_near", "banking", "faq", fewer, asked)
    # 0: the question alone; the others have about as many variants as operators write.
    for seed, (least, most) in enumerate([(4, 14), (4, 14), (1, 4), (12, 24), (0, 0)]):
        name = f"banking_made_{seed}"
        yield _made(name, "banking", every, least, most, random.Random(seed), strangers)  # noqa: S311


def _shop(
    english: Sequence[LabelledQuestion], chinese: Sequence[LabelledQuestion]
) -> Iterator[TrainingSet]:
    """Our own sample FAQ, from its text alone: its evaluation questions stay unseen."""
    far = {"en": english, "zh": chinese[:150]}
    for language, strangers in far.items():
        every = rows_of(SAMPLES / language / "faq.jsonl")
        for seed, (least, most) in enumerate([(3, 8), (8, 16)]):
            name = f"shop_{language}_{seed}"
            chance = random.Random(seed)  # noqa: S311
            yield _made(name, "shop", every, least, most, chance, strangers)


def _made(
    name: str,
    family: str,
    every: Sequence[Row],
    least: int,
    most: int,
    chance: random.Random,
    strangers: Sequence[LabelledQuestion],
) -> TrainingSet:
    """An FAQ of which a third was taken out, asked with variants that it does not have."""
    gone = set(chance.sample([row["id"] for row in every], len(every) // 3))
    knowledge, questions = [], list(strangers)
    for row in every:
        variants = chance.sample(row["variants"], len(row["variants"]))
        kept = chance.randint(least, most)
        first, rest = (variants[0], variants[1:]) if most == 0 else (row["question"], variants)
        if row["id"] not in gone:
            knowledge.append({**row, "question": first, "variants": rest[:kept]})
        gold: frozenset[str] = frozenset() if row["id"] in gone else frozenset([row["id"]])
        questions += [
            LabelledQuestion(text, gold, "in" if gold else "near")
            for text in rest[kept : kept + 12]
        ]
    return TrainingSet(name, family, "faq", knowledge, questions)


def _covid(data: Path) -> Iterator[TrainingSet]:
    folder = data / "faq_en_covid"
    knowledge, asked = rows_of(folder / "kb.jsonl"), rows_of(folder / "queries.jsonl")
    yield _set("covid", "covid", "faq", knowledge, asked)
    golds = sorted({gold for row in asked for gold in row["gold_ids"]})
    for seed in (1, 2):
        gone = set(random.Random(seed).sample(golds, len(golds) // 2))  # noqa: S311
        # The same question may stand under another id.
        texts = {row["question"] for row in knowledge if row["id"] in gone}
        fewer = [row for row in knowledge if row["question"] not in texts]
        yield _set(f"covid_near_{seed}", "covid", "faq", fewer, asked)


def _commands(data: Path) -> Iterator[TrainingSet]:
    """Commands to an assistant by intent, asked in both languages; four intents taken out."""
    by_intent: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows_of(data / "crosslingual_xsid/zh_en_intents.jsonl"):
        by_intent[row["intent"]].append(row)
    large = {intent: rows for intent, rows in by_intent.items() if len(rows) >= 10}
    for asked_in, written_in in (("zh", "zh"), ("en", "en"), ("zh", "en"), ("en", "zh")):
        chance = random.Random(9)  # noqa: S311
        gone = set(chance.sample(sorted(large), 4))
        knowledge, questions = [], _encyclopedia(data, asked_in)[:150]
        for intent, rows in large.items():
            mixed = chance.sample(rows, len(rows))[:40]
            half = len(mixed) // 2
            first, *variants = (row[written_in] for row in mixed[:half])
            if intent not in gone:
                knowledge.append(_faq(intent, first, variants))
            gold: frozenset[str] = frozenset() if intent in gone else frozenset([intent])
            questions += [
                LabelledQuestion(row[asked_in], gold, "in" if gold else "near")
                for row in mixed[half:]
            ]
        name = f"commands_{asked_in}_{written_in}"
        yield TrainingSet(name, "commands", "faq", knowledge, questions)


def _translated_questions(data: Path) -> Iterator[TrainingSet]:
    """Each question as an FAQ entry of its own, asked in the other language."""
    strangers = rows_of(data / "crosslingual_xsid/zh_en_intents.jsonl")[:150]
    for asked_in, written_in in (("zh", "en"), ("en", "zh")):
        asked = rows_of(data / f"crosslingual_xquad/questions_{asked_in}.jsonl")
        written = rows_of(data / f"crosslingual_xquad/questions_{written_in}.jsonl")
        gone = set(random.Random(4).sample(range(len(written)), 200))  # noqa: S311
        knowledge = [
            _faq(str(number), row["text"], [])
            for number, row in enumerate(written)
            if number not in gone
        ]
        questions = [
            LabelledQuestion(
                row["text"],
                frozenset() if number in gone else frozenset([str(number)]),
                "near" if number in gone else "in",
            )
            for number, row in enumerate(asked)
        ]
        questions += [LabelledQuestion(row[asked_in], frozenset(), "far") for row in strangers]
        name = f"translated_{asked_in}_{written_in}"
        yield TrainingSet(name, "translated", "faq", knowledge, questions)


def _documents(data: Path, strangers: Sequence[LabelledQuestion]) -> Iterator[TrainingSet]:
    chinese, english = _encyclopedia(data, "zh"), _encyclopedia(data, "en")
    for name, folder, far in (
        ("cmrc", "docs_zh_cmrc2018", chinese),
        ("squad", "docs_en_squad2", [*strangers, *english[:200]]),
    ):
        chance = random.Random(6)  # noqa: S311
        knowledge = rows_of(data / folder / "passages.jsonl")
        asked = rows_of(data / folder / "questions.jsonl")
        answered = [row for row in asked if row["gold_ids"]]
        unanswered = [row for row in asked if not row["gold_ids"]]
        sample = _sample(answered, 2500, chance) + _sample(unanswered, 2500, chance)
        yield _set(name, name, "document", knowledge, sample)
        gone = set(chance.sample([row["id"] for row in knowledge], len(knowledge) * 2 // 5))
        fewer = [row for row in knowledge if row["id"] not in gone]
        yield _set(f"{name}_near", name, "document", fewer, _sample(answered, 2000, chance))
        yield TrainingSet(f"{name}_far", name, "document", knowledge, far)
        if name == "cmrc":  # in squad, people have written such questions
            yield _adversarial(name, name, knowledge, answered)


def _translated_documents(data: Path) -> Iterator[TrainingSet]:
    for asked_in, written_in in (("zh", "en"), ("en", "zh"), ("zh", "zh"), ("en", "en")):
        folder = data / "crosslingual_xquad"
        knowledge = rows_of(folder / f"passages_{written_in}.jsonl")
        gone = set(random.Random(4).sample([r["id"] for r in knowledge], len(knowledge) * 2 // 5))  # noqa: S311
        fewer = [row for row in knowledge if row["id"] not in gone]
        asked = rows_of(folder / f"questions_{asked_in}.jsonl")
        name = f"translated_documents_{asked_in}_{written_in}"
        yield _set(name, "translated_documents", "document", fewer, asked)
        if asked_in == written_in:
            yield _adversarial(name, "translated_documents", knowledge, asked)


def _adversarial(
    name: str, family: str, knowledge: Sequence[Row], answered: Sequence[Row]
) -> TrainingSet:
    """Questions, each beside one like it that its passage does not answer."""
    chance = random.Random(11)  # noqa: S311
    places = {row["id"]: place for place, row in enumerate(knowledge)}
    questions = []
    for row in _sample(answered, 1800, chance):
        place = places[row["gold_ids"][0]]
        around = [*knowledge[max(0, place - 3) : place], *knowledge[place + 1 : place + 4]]
        neighbours = [one["text"] for one in around]
        questions.append(_question(row, frozenset(row["gold_ids"])))
        made = adversarial(row["text"], knowledge[place]["text"], neighbours, chance)
        if made is not None:
            questions.append(LabelledQuestion(made, frozenset(), "near"))
    return TrainingSet(f"{name}{ADVERSARIAL}", family, "document", knowledge, questions)


def _set(
    name: str, family: str, kind: PassageKind, knowledge: Sequence[Row], asked: Sequence[Row]
) -> TrainingSet:
    here = {row["id"] for row in knowledge}
    questions = [_question(row, frozenset(row["gold_ids"]) & here) for row in asked]
    return TrainingSet(name, family, kind, knowledge, questions)


def _question(row: Row, gold: frozenset[str]) -> LabelledQuestion:
    far = "far" in str(row.get("oos_type"))
    return LabelledQuestion(row["text"], gold, "in" if gold else "far" if far else "near")


def _encyclopedia(data: Path, language: str) -> list[LabelledQuestion]:
    rows = rows_of(data / f"crosslingual_xquad/questions_{language}.jsonl")
    return [replace(_question(row, frozenset()), scope="far") for row in rows]


def _faq(entry_id: str, question: str, variants: Sequence[str]) -> Row:
    return {"id": entry_id, "question": question, "answer": "", "variants": list(variants)}


def _sample(rows: Sequence[Row], size: int, chance: random.Random) -> list[Row]:
    return chance.sample(rows, min(size, len(rows)))


def rows_of(path: Path) -> list[Row]:
    """The objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
