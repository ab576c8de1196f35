"""How texts are parted into sentences, and documents into chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.chunking import MAX_UNITS, TARGET_UNITS, cut, measure
from knowledge.documents import Chunk, Document, Section
from knowledge.sentences import (
    split_clauses,
    split_lines,
    split_paragraphs,
    split_sentences,
    split_words,
)


def document(*sections: tuple[str, str]) -> Document:
    return Document(
        id="d",
        kind="document",
        sections=tuple(Section(heading, text) for heading, text in sections),
    )


def bare(text: str) -> str:
    return "".join(text.split())


# Sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["可以退。", "七天内！", "真的吗？", "是；", "然后……", "没了"],
        ["不可以,先登录。", "价格是3.5元。", "OK.", "然后点确认"],
        ["他说：「好吗？」", "我说好。"],
        ["（限时！）", "快来。"],
        ["Dr. Smith paid $3.50. ", "He left at 5 p.m. in a car! ", "Really? ", "Yes."],
        ["See e.g. Fig. 3 and No. 5 for more. ", "The answer is no. ", "Then leave."],
        ["The U.S. Army uses v2.0 of kfbot.io. ", 'He said "stop." ', "We did."],
        ["It takes a while... then it ends. ", "Wait... ", "Now."],
        ["1. Open the app. ", "2. Tap it.\n", "2. Done."],
        ["1.登录账号\n", "2.点击确认\n", "① 完成\n", "一、说明"],
        ["Intro:\n", "- one\n", "- two\n  goes on\n", "* three"],
        ["| a. b | c |\n", "|---|---|\n", "| 1. X | 2 |"],
        ["City | Days. Now\n", "Rome | 2"],
        [
            "A line that an editor broke because it had come to its width\nMonday is a name.\n",
            "Next",
        ],
        ["broken here\nand there.\n\n", "New."],
        ["周边景点：南锣鼓巷\n", "门票：60元"],
    ],
)
def test_sentences_end_where_a_reader_stops(sentences: list[str]) -> None:
    assert split_sentences("".join(sentences)) == sentences


@given(st.text(alphabet="ab。！.,，、? \n\t|-1A:“”)中文", max_size=80))
def test_parting_loses_nothing(text: str) -> None:
    for split in (split_paragraphs, split_lines, split_sentences, split_clauses, split_words):
        parts = split(text)
        assert "".join(parts) == text
        assert all(parts)


# Chunks


def test_faq_gives_its_question_and_each_distinct_variant() -> None:
    entry = Document(
        id="q",
        kind="faq",
        question="How do I pay?",
        answer="By card.",
        variants=("payment", "how do  I PAY?", "付款", "Payment", "付款"),
    )
    assert cut(entry) == (Chunk("", "How do I pay?"), Chunk("", "payment"), Chunk("", "付款"))


@pytest.mark.parametrize("text", ["字" * MAX_UNITS, "word " * 330 + "end.", "短。"])
def test_one_paragraph_that_fits_is_one_chunk(text: str) -> None:
    assert cut(document(("", text))) == (Chunk("", text),)


def test_a_section_is_never_mixed_with_another() -> None:
    one, other = "甲" * 100 + "。", "乙" * 100 + "。"
    assert cut(document(("A", one), ("A › B", other))) == (Chunk("A", one), Chunk("A › B", other))


def test_tiny_neighbours_share_a_chunk_and_keep_their_headings() -> None:
    chunks = cut(
        document(
            ("Shop", "Shop."),
            ("Shop › Phone", "Call 123."),
            ("Shop › Mail", "a@b.c"),
            ("Shop › Long", "x " * 100),
            ("Shop › Fax", "456"),
            ("Other › Fax", "789"),
        )
    )
    assert chunks == (
        Chunk("Shop", "Shop."),
        Chunk("Shop", "Phone\nCall 123.\n\nMail\na@b.c"),
        Chunk("Shop › Long", ("x " * 100).strip()),
        Chunk("Shop › Fax", "456"),
        Chunk("Other › Fax", "789"),
    )


def test_a_heading_that_asks_is_a_chunk_of_its_own() -> None:
    sections = (("能退吗？", "能。"), ("How long?", "A week."), ("Where?", "Here."))
    assert cut(document(*sections)) == tuple(Chunk(*section) for section in sections)


def test_tiny_neighbours_do_not_grow_into_a_large_chunk() -> None:
    chunks = cut(document(*((f"H{number}", "字" * 70) for number in range(20))))
    assert len(chunks) == 4
    assert all(measure(chunk.text) <= TARGET_UNITS for chunk in chunks)


@pytest.mark.parametrize(
    ("unit", "count", "ends"),
    [
        ("这是一个完整的句子，说明如何退货。", 100, ("。",)),
        ("This sentence says how to return a kettle. ", 200, (".",)),
        ("- 第一步，打开应用，点击订单\n", 100, ("订单",)),
        ("| Rome | 2 days | free |\n", 200, ("|",)),
        ("没有句号只有逗号的一段话，", 100, ("，",)),
        ("no end and no comma ", 300, ("no", "end", "and", "comma")),
        ("一" * 300 + "。\n\n", 5, ("。",)),
    ],
)
def test_long_sections_are_cut_at_the_coarsest_fitting_place(
    unit: str, count: int, ends: tuple[str, ...]
) -> None:
    chunks = cut(document(("H", unit * count)))
    assert len(chunks) > 1
    assert all(chunk.text.endswith(ends) for chunk in chunks)
    assert all(80 <= measure(chunk.text) <= MAX_UNITS for chunk in chunks)
    assert {chunk.heading for chunk in chunks} == {"H"}


@pytest.mark.parametrize("text", ["字" * 5000, "x" * 20_000, "?" * 3000, "a" * 5 + "\n" * 5000])
def test_a_text_without_any_break_is_cut_hard(text: str) -> None:
    chunks = cut(document(("", text)))
    assert all(0 < measure(chunk.text) <= MAX_UNITS for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks) == text.strip()


def test_a_remainder_joins_the_chunk_before_it() -> None:
    chunks = cut(document(("", "一" * 380 + "。\n\n" + "二" * 390 + "。\n\n" + "完。")))
    assert [chunk.text[-2:] for chunk in chunks] == ["一。", "完。"]


SENTENCES = st.sampled_from(
    [
        "退货很简单，七天内都可以。",
        "Return it within 7 days. ",
        "- item one\n",
        "| a | b |\n",
        "3.5",
    ]
) | st.sampled_from(["\n\n", "字" * 250, "Why? ", "e.g. this, or that, ", "x" * 300])
TEXTS = st.lists(SENTENCES, min_size=1, max_size=60).map("".join).filter(str.strip)
# Letters that no text above has, so that headings can be told from texts.
HEADINGS = st.sampled_from(["", "Ω", "Ω › Ψ", "Ω › Φ", "Ξ › Ψ"])


@given(st.lists(st.tuples(HEADINGS, TEXTS), max_size=8))
@settings(deadline=None)
def test_nothing_is_lost_repeated_or_moved(sections: list[tuple[str, str]]) -> None:
    whole = document(*sections)
    chunks = cut(whole)
    assert chunks == cut(whole)
    assert all(chunk.text.strip() and measure(chunk.text) <= MAX_UNITS for chunk in chunks)
    text = bare("".join(chunk.text for chunk in chunks))
    headings = str.maketrans("", "", "ΩΨΦΞ")
    assert text.translate(headings) == bare("".join(text for _, text in sections))


# Tables

HEADER = "| 城市 | Days | 说明 |\n| --- | --- | --- |\n"


def table(count: int) -> str:
    rows = (f"| 城{n} | {n} | {'可以免签停留，' * 3} |" for n in range(count))
    return HEADER + "\n".join(rows)


def test_each_chunk_of_a_table_begins_with_its_header_and_no_row_is_cut() -> None:
    chunks = cut(document(("签证", f"先看这里。\n\n{table(60)}\n\n再见。")))
    assert len(chunks) > 3
    assert chunks[0].text.startswith(f"先看这里。\n\n{HEADER}| 城0 | 0 |")
    assert all(chunk.text.startswith(f"{HEADER}| 城") for chunk in chunks[1:])
    assert chunks[-1].text.endswith("|\n\n再见。")
    rows = [line for chunk in chunks for line in chunk.text.split("\n") if "| 城" in line[:3]]
    assert [row for row in rows if row not in HEADER] == table(60).split("\n")[2:]


def test_a_table_that_fits_is_not_cut() -> None:
    text = table(12)
    assert measure(text) > TARGET_UNITS
    assert cut(document(("", text))) == (Chunk("", text),)


def test_a_row_too_long_for_a_chunk_goes_on_below_the_header_and_its_first_cell() -> None:
    row = f"| 退货 | {'七天内可以退货。' * 200} | 完 |"
    first, *others = cut(document(("", f"| 问 | 答 | 注 |\n|---|---|---|\n{row}\n| b | c | d |")))
    assert first.text.startswith("| 问 | 答 | 注 |\n|---|---|---|\n| 退货 | 七天内可以退货。")
    above = "| 问 | 答 | 注 |\n|---|---|---|\n| 退货 | … "
    assert len(others) > 2
    assert all(chunk.text.startswith(above) for chunk in others)
    assert others[-1].text.endswith("七天内可以退货。 | 完 |\n| b | c | d |")
    said = first.text + "".join(chunk.text.removeprefix(above) for chunk in others)
    assert said.count("七天内可以退货。") == 200


def test_the_header_of_a_wide_table_is_repeated_without_its_rule() -> None:
    head = "| " + " | ".join(f"列{n}" for n in range(60)) + " |"
    row = head.replace("列", "值")
    chunks = cut(document(("", "\n".join([head, "| --- " * 60 + "|", *[row] * 5]))))
    bodies = [chunk.text for chunk in chunks if row in chunk.text]
    assert len(bodies) == 5
    assert all(body == f"{head}\n{row}" for body in bodies)


CELLS = st.sampled_from(
    ["", "a", "退货", "字" * 300, "word " * 200, "x" * 2000, "a \\| b", "，。" * 90]
)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=12), st.booleans())
@settings(deadline=None, max_examples=200)
def test_of_a_table_no_word_is_lost_and_no_chunk_is_too_large(
    rows: list[list[str]], long_header: bool
) -> None:
    header = ["题" * (400 if long_header else 3)] * 4
    lines = [header, ["---"] * 4, *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    chunks = cut(document(("", text)))
    assert all(chunk.text and measure(chunk.text) <= MAX_UNITS for chunk in chunks)
    said = bare("".join(chunk.text for chunk in chunks))
    for mark in ("退", "字", "w", "x", "题"):
        assert said.count(mark) >= text.count(mark)


def test_a_chunk_names_the_page_of_its_section() -> None:
    whole = Document(
        id="d",
        kind="document",
        sections=(
            Section("A", "短。", 2),
            Section("B", "也短。", 3),
            Section("C", "长。" * 400, 7),
        ),
    )
    first, *others = [chunk.page for chunk in cut(whole)]
    assert (first, set(others)) == (2, {7})


def test_what_a_cover_says_is_put_before_the_first_chapter() -> None:
    sections = (
        Section("Report 2018", "April 2018", page=1),
        Section("Chapter 1", "The turnover grew. " * 20, page=2),
    )
    document = Document(id="a", kind="document", title="Shop", sections=sections)
    [chunk] = cut(document)
    assert chunk.text.startswith("Report 2018\nApril 2018\n\nThe turnover grew.")
    assert (chunk.heading, chunk.page) == ("Chapter 1", 2)
    without_pages = replace(
        document, sections=tuple(replace(section, page=0) for section in sections)
    )
    assert len(cut(without_pages)) == 2
