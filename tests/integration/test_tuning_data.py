"""Examples of records, documents and a teacher that is wrong at times: what is in the files."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kfbot.chat_model import ChatMessage, Usage
from kfbot.conversation import HistoryMessage
from kfbot.errors import ChatModelUnavailable
from kfbot.grounding.prompting import NO_ANSWER, answer_prompt
from kfbot.knowledge_base import Passage
from kfbot.knowledge_models import mask_texts
from kfbot.language import language_of
from kfbot.model.tuning.building import Material, Plan, build
from kfbot.model.tuning.examples import (
    SPLITS,
    ChatExample,
    Manifest,
    TuningDataError,
    question_of,
    read_chat,
    read_manifest,
    read_pairs,
    read_preferences,
)
from kfbot.model.tuning.formats import read_foreign
from kfbot.model.tuning.from_records import OpenQuestion, Records, read_records
from kfbot.model.tuning.grounded import SHOWN
from kfbot.model.tuning.known import Known, code_of, known_of
from kfbot.model.tuning.splitting import Splitter
from kfbot.model_settings import AnswerSettings, ChatModelSettings
from kfbot.store import tables
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from kfbot.store.proposals import Draft, Proposal
from kfbot.store.unanswered import HelpfulAnswer
from tests.conftest import Clock
from tests.integration.conftest import DOUBTFUL, ServedBot
from tests.integration.conftest import ENTRIES as ENTRIES_SERVED
from tests.integration.test_learning import answered_case

MAIL, MOBILE = "anna.berg@example.org", "13812345678"
THINGS = "jacket lamp kettle chair tent mug scarf radio mirror ladder".split()  # noqa: SIM905
SETTINGS = ChatModelSettings(base_url="http://127.0.0.1:9/v1", model="teacher-1")


def masked(texts: Sequence[str]) -> tuple[str, ...]:
    return mask_texts(texts)


def document(number: int) -> Known:
    """A document that gives its thing a price, a weight and a colour of its own."""
    thing = f"{THINGS[number % 10]} number {number}"
    text = (
        f"The {thing} costs {100 + number} euros in every shop.\n"
        f"The {thing} weighs {200 + number} grams without its box."
        f" Ask [email] about spare parts."
    )
    key = f"shop/doc-{number}"
    passage = Passage(
        knowledge_base="shop", document_id=f"doc-{number}", chunk_id=key, kind="document",
        title=f"About the {thing}", text=text, score=0.0,
    )  # fmt: skip
    return Known(key=key, kind="document", passages=(passage,))


def entry(number: int, question: str, answer: str, *variants: str) -> Known:
    key = f"faq/entry-{number}"
    passage = Passage(
        knowledge_base="faq", document_id=f"entry-{number}", chunk_id=key, kind="faq",
        title="", text=answer, question=question, score=0.0,
    )  # fmt: skip
    return Known(key=key, kind="faq", passages=(passage,), questions=(question, *variants))


ENTRIES = [
    *(
        entry(
            n,
            f"How long is the warranty of model {n}?",
            f"Model {n} has a warranty of {n} years.",
            *(f"warranty model {n}", f"is model {n} covered"),
        )
        for n in range(20, 50)
    ),
    *(
        entry(n, f"型号{n}怎么退货？", f"型号{n}请在{n}天内寄回北京仓库。", f"我要退型号{n}")
        for n in range(50, 80)
    ),
]
KNOWN = [*map(document, range(60)), *ENTRIES]


class LyingTeacher:
    """Asks about price, weight and colour; lies about every third price, makes up the colour."""

    context_tokens = 8192

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails_after = 10**9

    async def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[str]:
        if len(self.asked) >= self.fails_after:
            raise ChatModelUnavailable("the stand-in is gone")
        said = prompt[-1].text
        self.asked.append(said)
        yield self._questions(said) if said.startswith("<passage>") else self._answer(said)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _questions(self, said: str) -> str:
        found = re.search(r"The (\w+ number \d+) costs", said)
        thing = found[1] if found else "thing"
        return f"1. What does the {thing} cost?\n- How heavy is the {thing}?\nHere you are."

    def _answer(self, said: str) -> str:
        found = re.search(r"the (\w+ number (\d+))", said.rpartition("</passages>")[2])
        if found is None:
            return NO_ANSWER
        thing, number = found[1], int(found[2])
        if "heavy" in said.rpartition("</passages>")[2]:
            true = f"The {thing} weighs {200 + number} grams without its box.[1]"
            lie = f" It is made of {9000 + number} parts of gold. Write to {MAIL}."
            return true + (lie if number % 5 == 0 else "")
        price = 7000 + number if number % 3 == 0 else 100 + number
        return f"The {thing} costs {price} euros in every shop."


def proposal(number: int, question: str, answer: str, **more: Any) -> Proposal:
    draft = Draft(question=question, answer=answer, knowledge_base=more.pop("base", "faq"))
    values: dict[str, Any] = {
        "state": "approved", "channel": "api", "case_id": number, "turn_id": None,
        "conversation_id": number, "asked": question, "bot_said": "", "created_at": Clock()(),
        "decided_by": "ann", "decided_at": None, "entry_id": None,
    }  # fmt: skip
    return Proposal(id=number, draft=draft, **{**values, **more})


def records() -> Records:
    kept = proposal(
        1, f"I am {MAIL}, is model 21 covered by the warranty?",
        "Model 21 has a warranty of 21 years.", entry_id="entry-21",
        bot_said=f"Model 99 is sold out, call {MOBILE}.",
    )  # fmt: skip
    known_to_nobody = proposal(2, "Who is your boss?", "Our boss is called Mr. Vandermeer.")
    helpful = HelpfulAnswer(
        conversation_id=3, question="how heavy is the lamp number 1",
        history=(HistoryMessage("customer", f"Hello, {MOBILE} here"),), document_id="doc-1",
        knowledge_base="shop", text="The lamp number 1 weighs 201 grams without its box.",
    )  # fmt: skip
    left = [OpenQuestion("Do you repair violins?", "conversation-4", "Yes, for 900 euros.")]
    return Records([kept, known_to_nobody], [helpful], [], left)


def plan(folder: Path, **more: Any) -> Plan:
    return Plan(folder=folder, settings=SETTINGS, style=AnswerSettings(), mask=masked, **more)


def imported() -> list[ChatExample]:
    """Two questions of one conversation, with private data, and one without an answer."""
    return [
        ChatExample(
            messages=(
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ),
            source="imported",
            conversation="imported/1",
        )
        for question, answer in (
            (f"How do I reach you, I am {MAIL}?", f"We call you back at {MOBILE} today."),
            ("Where is your shop in Berlin?", "Behind the station, on the left."),
            ("Where is your website?", "Please see https://shop.example/here"),
        )
    ]


def make(folder: Path, teacher: LyingTeacher | None = None, **more: Any) -> Manifest:
    material = Material(known=KNOWN, records=records(), imported=imported(), teacher=teacher)
    return asyncio.run(build(material, plan(folder, **more), lambda *_: None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tuning") / "data"
    make(made, LyingTeacher())
    return made


def chat(folder: Path) -> list[ChatExample]:
    return [one for split in SPLITS for one in read_chat(folder / f"{split}.jsonl")]


def test_nothing_that_the_teacher_made_up_is_an_answer(folder: Path) -> None:
    answers = [one.messages[-1]["content"] for one in chat(folder)]
    preferred = [
        one.chosen[-1]["content"]
        for split in SPLITS[:2]
        for one in read_preferences(folder / f"preferences.{split}.jsonl")
    ]
    assert any("costs 101 euros" in one for one in answers)
    for said in (*answers, *preferred):
        assert not re.search(r"7\d\d\d euros|gold|Vandermeer|900 euros", said), said


def test_what_is_in_part_made_up_is_the_worse_answer(folder: Path) -> None:
    found = read_preferences(folder / "preferences.train.jsonl")
    lies = [one for one in found if "gold" in one.rejected[0]["content"]]
    assert lies
    for one in lies:
        assert "grams without its box.[" in one.chosen[0]["content"]


def test_every_citation_is_of_the_passage_that_says_so(folder: Path) -> None:
    for one in chat(folder):
        answer, asked = one.messages[-1]["content"], one.messages[-2]["content"]
        if answer == NO_ANSWER or one.source == "imported":
            continue
        marks = re.findall(r"\[(\d)\]", answer)
        assert marks, answer
        for sentence, mark in re.findall(r"([^\[\]]+)\[(\d)\]", answer):
            shown = re.search(rf"\n\[{mark}\] (.*?)(?=\n\n\[\d\] |\n\n</passages>)", asked, re.S)
            assert shown is not None
            assert sentence.strip() in shown[1]


def test_a_prompt_is_the_one_that_customers_questions_get(folder: Path) -> None:
    found = [one for one in chat(folder) if one.document == "shop/doc-2"]
    assert found
    by_line = {one.passages[0].text.split("\n")[0]: one.passages[0] for one in KNOWN}
    for one in found:
        asked, question = one.messages[-2]["content"], question_of(one)
        lines = re.findall(r"^\[\d\] .*\n(.+)$", asked, re.M)
        assert len(lines) == SHOWN
        prompt, _ = answer_prompt(
            question, [by_line[line] for line in lines], history=(),
            language=language_of(question), style=AnswerSettings(),
            budget_tokens=SETTINGS.context_tokens - SETTINGS.answer_tokens,
        )  # fmt: skip
        told = [(message["role"], message["content"]) for message in one.messages[:-1]]
        assert [(message.role, message.text) for message in prompt] == told


def test_refusal_is_a_set_share_and_no_passage_beside_it_answers(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.unanswerable_share == pytest.approx(0.2, abs=0.03)
    refused = [one for one in chat(folder) if one.messages[-1]["content"] == NO_ANSWER]
    assert {one.source for one in refused} == {"unanswerable"}
    assert any("violins" in one.messages[-2]["content"] for one in refused)
    for one in refused:
        about = re.search(r"\w+ number \d+\b|model \d+|型号\d+", question_of(one))
        if about is not None and "shop/" in one.document:
            assert f"{about[0]} costs" not in one.messages[-2]["content"]


def test_preferences_teach_answers_as_often_as_refusals(folder: Path) -> None:
    found = read_preferences(folder / "preferences.train.jsonl")
    refused = sum(one.chosen[0]["content"] == NO_ANSWER for one in found)
    answered = sum(one.rejected[0]["content"] == NO_ANSWER for one in found)
    assert refused > 5
    assert answered >= refused - 1


def test_no_conversation_and_no_document_is_in_two_splits(folder: Path) -> None:
    splitter = Splitter(0)
    conversations: dict[str, str] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.name == "teacher.jsonl":
            continue
        kind, _, name = path.stem.rpartition(".")
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            wanted = ("validation", "test") if (kind, name) == ("pairs", "test") else (name,)
            if row["document"]:
                assert splitter.of_document(row["document"]) in wanted
            if row["conversation"] and kind != "pairs":
                assert conversations.setdefault(row["conversation"], name) == name
            for number in re.findall(r"About the \w+ number (\d+)\\?n", line):
                assert splitter.of_document(f"shop/doc-{number}") in wanted


def test_no_private_data_is_in_any_file(folder: Path) -> None:
    for path in folder.iterdir():
        text = path.read_text("utf-8")
        assert not re.search(r"[\w.]+@[\w.]+\.\w+", text), path
        assert not re.search(r"(?<!\d)1[3-9]\d{9}(?!\d)", text), path


def test_what_an_agent_said_and_no_document_says_is_counted_and_left_out(folder: Path) -> None:
    assert read_manifest(folder).left_out["agent's answer is in no document"] == 1
    [one] = [one for one in chat(folder) if one.source == "agent"]
    assert (one.conversation, one.document) == ("conversation-1", "faq/entry-21")


def test_imported_examples_are_filtered_too(folder: Path) -> None:
    found = [one.messages[-1]["content"] for one in chat(folder) if one.source == "imported"]
    assert len(found) == 2
    assert read_manifest(folder).left_out["answer says nothing, or only a link"] == 1


def test_the_customers_history_is_part_of_the_prompt(folder: Path) -> None:
    [one] = [one for one in chat(folder) if one.conversation == "conversation-3"]
    prompt = "\n".join(message["content"] for message in one.messages[:-1])
    assert "Hello, [mobile] here" in prompt
    assert prompt.endswith("how heavy is the lamp number 1")


def test_pairs_are_of_one_document_and_their_negatives_of_others(folder: Path) -> None:
    train = read_pairs(folder / "pairs.train.jsonl")
    assert {one.kind for one in train} == {"faq", "document"}
    of = {text: known.key for known in ENTRIES for text in known.questions}
    checked = 0
    for one in train:
        assert one.positive not in one.negatives
        for text in one.negatives:
            checked += text in of
            assert of.get(text) != one.document
    assert checked > 20


def test_both_languages_are_counted_by_source(folder: Path) -> None:
    counts = read_manifest(folder).counts["train"]
    assert counts["zh"] > 5
    assert counts["en"] > 20
    assert counts["zh"] + counts["en"] == len(read_chat(folder / "train.jsonl"))


def test_the_same_build_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = make(tmp_path / "again", LyingTeacher())
    assert again.sha256 == read_manifest(folder).sha256


def test_a_build_that_was_broken_off_goes_on(folder: Path, tmp_path: Path) -> None:
    first, second = LyingTeacher(), LyingTeacher()
    first.fails_after = 40
    with pytest.raises(ChatModelUnavailable, match="goes on from here"):
        make(tmp_path / "data", first)
    assert not (tmp_path / "data" / "manifest.json").exists()
    assert make(tmp_path / "data", second).sha256 == read_manifest(folder).sha256
    whole = LyingTeacher()
    make(tmp_path / "whole", whole)
    assert len(first.asked) + len(second.asked) == len(whole.asked)


def test_without_a_teacher_entries_alone_are_asked(tmp_path: Path) -> None:
    manifest = make(tmp_path / "data")
    assert manifest.teacher == ""
    assert "wrong" not in manifest.left_out
    sources = {one.source for one in chat(tmp_path / "data")}
    assert sources == {"agent", "feedback", "documents", "unanswerable", "imported"}


def test_a_limit_shows_the_teacher_so_many_passages(tmp_path: Path) -> None:
    teacher = LyingTeacher()
    make(tmp_path / "data", teacher, limit=5)
    assert sum(one.startswith("<passage>") for one in teacher.asked) == 5


def test_nothing_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TuningDataError, match="knowledge load"):
        asyncio.run(build(Material(records=Records()), plan(tmp_path / "d"), lambda *_: None))


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", "utf-8")
    with pytest.raises(TuningDataError, match="holds something else"):
        make(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]


def test_code_is_cut_between_its_blocks(tmp_path: Path) -> None:
    blocks = [f"def step_{n}() -> int:\n    return {n}  # {'x' * 300}" for n in range(12)]
    (tmp_path / "steps.py").write_text("\n\n\n".join(blocks), "utf-8")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.txt").write_text("secret", "utf-8")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    [one] = code_of(tmp_path, masked)
    assert one.key == "code/steps.py"
    assert len(one.passages) > 2
    for block in blocks:
        assert sum(block in passage.text for passage in one.passages) == 1


def test_an_entry_of_the_store_is_one_passage_and_its_questions() -> None:
    row = DocumentRow(document_id="d", kind="faq", content_hash="", answer=f"Ask {MAIL}.")
    chunks = tuple(
        ChunkRow(id=f"c{at}", position=at, heading="", text=text, vector=b"", terms={})
        for at, text in enumerate(["Who helps?", f"who helps {MOBILE}", "help"])
    )
    known = known_of("shop", StoredDocument(row, chunks), masked)
    assert known is not None
    [passage] = known.passages
    assert (passage.text, passage.question, passage.kind) == ("Ask [email].", "Who helps?", "faq")
    assert known.questions == ("Who helps?", "who helps [mobile]", "help")
    document = replace(row, kind="document", title="Help", answer="")
    known = known_of("shop", StoredDocument(document, chunks), masked)
    assert known is not None
    assert [one.text for one in known.passages] == ["Who helps?", "who helps [mobile]", "help"]
    assert {one.title for one in known.passages} == {"Help"}


@pytest.mark.asyncio
async def test_records_are_read_as_they_were_made(bot: ServedBot) -> None:
    await answered_case(bot, "c-1", "Do you ship to Iceland?", "Yes, for 20 euros.")
    await bot.ask("运费是多少", "c-2")
    await bot.ask("怎么开发票", "c-2")
    await bot.ask(DOUBTFUL, "c-3")
    for action in ("helpful", "choice"):
        first = sa.select(sa.func.max(tables.button.c.token)).where(
            tables.button.c.action == action
        )
        press = (
            tables.button.update()
            .where(tables.button.c.token == first.scalar_subquery())
            .values(pressed_at=bot.clock())
        )
        await bot.database.write(lambda c, press=press: c.execute(press).rowcount)
    found = await read_records(bot.database, bot.clock() + timedelta(minutes=1), 30)
    [made] = found.proposals
    assert (made.draft.question, made.draft.answer) == (
        "Do you ship to Iceland?", "Yes, for 20 euros.",
    )  # fmt: skip
    [liked], [chosen] = found.helpful, found.chosen
    assert liked.text == ENTRIES_SERVED[liked.question]
    assert chosen.question == DOUBTFUL
    assert (chosen.knowledge_base, chosen.document_id[:6]) == ("fake", "entry-")
    assert "Do you ship to Iceland?" in [one.question for one in found.open]


def settings_file(folder: Path) -> str:
    file = folder / "kfbot.toml"
    file.write_text(f'data_dir = "{folder / "var"}"\n', "utf-8")
    return str(file)


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "kfbot", "model", "data", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_faults_of_the_command_are_one_line(tmp_path: Path) -> None:
    settings = settings_file(tmp_path)
    out = str(tmp_path / "data")
    for arguments, words in (
        (("build", "--out", out, "--knowledge", "toys"), "no knowledge base toys"),
        (("build", "--out", out, "--teacher"), "base_url"),
        (("build", "--out", out), "knowledge load"),
    ):
        status, said = run(*arguments, "--settings", settings)
        assert status != 0
        assert words in said
        assert len(said.strip().splitlines()) == 1, said
    status, said = run("export", out, "--out", str(tmp_path / "a.jsonl"))
    assert (status != 0, len(said.strip().splitlines())) == (True, 1), said


@pytest.mark.slow
def test_examples_are_exported_and_imported_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "alpaca.jsonl"
    assert run("export", str(folder), "--out", str(file))[0] == 0
    found, faults = read_foreign(file)
    assert faults == []
    assert [one.messages for one in found] == [
        one.messages for one in read_chat(folder / "train.jsonl")
    ]
    material = Material(records=Records(), imported=found)
    again = asyncio.run(build(material, plan(tmp_path / "again"), lambda *_: None))
    taken = sum(again.counts[split].get("imported", 0) for split in SPLITS)
    # A question with its passages, and the same without them, differ in their answers.
    assert taken > 0.95 * len(found)
    status, said = run("export", str(folder), "--out", str(file))
    assert (status != 0, "cannot be written" in said) == (True, True)
