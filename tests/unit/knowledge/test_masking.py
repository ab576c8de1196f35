"""Private data is masked, and what only looks like it stays."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from kfbot.knowledge_settings import PrivateData
from knowledge.cleaning.masking import DEFAULT, KINDS, find_private, fold, mask
from knowledge.documents import Document, Section

LABELLED = Path(__file__).parents[2] / "evaluation"
#: Kinds with a check digit or a label: an error is a fault. Names are found by their titles,
#: and some brands have one.
LEAST_PRECISION = {"name": 0.85}
LEAST_RECALL = {"name": 0.95}
OTHERS = 0.98


def document(text: str, **fields: Any) -> Document:
    return Document(id="a", kind="document", sections=(Section("", text),), **fields)


def masked(text: str, *kinds: str, keep: tuple[str, ...] = ()) -> str:
    cleaned, _ = mask(document(text), frozenset(kinds) or KINDS, keep)
    return cleaned.sections[0].text


def labelled() -> list[dict[str, Any]]:
    files = sorted(LABELLED.glob("private_data_*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_every_kind_is_found_and_hardly_anything_else() -> None:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    rows = labelled()
    for row in rows:
        text = row["text"]
        wanted = Counter((kind, value) for kind, value in row["private"])
        found = Counter((kind, text[start:end]) for start, end, kind in find_private(text, KINDS))
        right.update(kind for kind, _ in (wanted & found).elements())
        wrong.update(kind for kind, _ in (found - wanted).elements())
        missed.update(kind for kind, _ in (wanted - found).elements())
    print(f"\n{len(rows)} cases, {sum(not row['private'] for row in rows)} without private data")
    print("kind       cases  precision  recall")
    for kind in sorted(KINDS):
        cases = right[kind] + missed[kind]
        precision, recall = right[kind] / (right[kind] + wrong[kind]), right[kind] / cases
        print(f"{kind:10} {cases:5} {precision:10.3f} {recall:7.3f}")
        assert precision >= LEAST_PRECISION.get(kind, OTHERS), kind
        assert recall >= LEAST_RECALL.get(kind, OTHERS), kind
    assert len(rows) >= 300


def test_marks_are_in_the_language_of_the_text() -> None:
    assert masked("手机：138 1234 5678") == "手机：[手机号]"
    assert masked("Mail jane.doe@example.com today.") == "Mail [email] today."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("手机１３８－１２３４－５６７８转", "手机[手机号]转"),
        ("手机138\n12345678。", "手机[手机号]。"),
        ("回电一三八一二三四五六七八", "回电[手机号]"),
        ("手机138.1234.5678", "手机[手机号]"),
        ("身份证 110105 19491231 002X", "身份证 [身份证号]"),
        ("Card 4111-1111-1111-1111", "Card [card number]"),
    ],
)
def test_numbers_are_found_however_they_are_written(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "客服热线 400-123-4567，95588，10086，12315",
        "Toll-free 1-800-555-0199, support@example.com",
        "售后热线：13800138000",
        "订单号 13812345678，流水号 110105194912310021",
        "身份证号 110105194912310022 以外的 18 位数",
    ],
)
def test_service_numbers_and_order_numbers_stay(text: str) -> None:
    kinds = KINDS - {"id_card"} if "以外" in text else KINDS
    assert mask(document(text), kinds)[0].sections[0].text == text


def test_an_id_card_with_a_wrong_check_digit_needs_a_label() -> None:
    assert masked("随机 110105194912310028") == "随机 110105194912310028"
    assert masked("身份证 110105194912310028") == "身份证 [身份证号]"


def test_only_the_kinds_of_the_policy_are_masked() -> None:
    text = "手机 13812345678，邮箱 zhang@example.com"
    assert masked(text, "mobile") == "手机 [手机号]，邮箱 zhang@example.com"
    assert masked(text, "email") == "手机 13812345678，邮箱 [邮箱]"
    assert mask(document(text), frozenset()) == (document(text), Counter())


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("手机 +86 138-1234-5678", "13812345678"),
        ("手机１３８１２３４５６７８", "138 1234 5678"),
        ("邮箱 zhang@Example.com", "*@example.com"),
        ("地址：北京市朝阳区建国路88号", "北京市朝阳区建国路88号"),
        ("电话：010-62345678", "010-6234*"),
        ("电话：(010)62345678转801", "010-62345678"),
        ("住址：深圳市南山区科技园南路1号A座1203", "科技园南路1号"),
        ("联系人：张三丰", "张三丰"),
    ],
)
def test_what_the_operator_keeps_stays(text: str, keep: str) -> None:
    assert masked(text) != text
    assert masked(text, keep=(keep,)) == text


def test_keeping_one_number_masks_the_others() -> None:
    text = "手机 13812345678 或 13912345678"
    assert masked(text, keep=("13812345678",)) == "手机 13812345678 或 [手机号]"
    assert masked(text, keep=("13812345",)) == "手机 [手机号] 或 [手机号]"


def test_every_text_of_a_document_is_masked_and_counted() -> None:
    number = "手机13812345678"
    entry = Document(
        id="f", kind="faq", question=number, answer=number, variants=(number,), title=number,
        metadata={"contact": number}, url="https://example.com/13812345678", path=number,
    )  # fmt: skip
    cleaned, counts = mask(entry, DEFAULT)
    assert counts == {"mobile": 5}
    hidden = "手机[手机号]"
    assert (cleaned.question, cleaned.answer, cleaned.variants) == (hidden, hidden, (hidden,))
    assert (cleaned.title, cleaned.metadata) == (hidden, {"contact": hidden})
    assert (cleaned.url, cleaned.path) == (entry.url, entry.path)


def test_masking_twice_changes_nothing_more() -> None:
    for row in labelled():
        once = masked(row["text"])
        assert masked(once) == once


def test_folding_keeps_every_character_in_its_place() -> None:
    text = "１３８—１２３４ ，〇一二三四五六七八九〇一 ﹣ＡＢ＠"
    assert len(fold(text)) == len(text)
    assert fold("１３８－１２３４＠") == "138-1234@"
    assert fold("星期一二三") == "星期一二三"


def test_the_settings_name_every_kind() -> None:
    assert set(get_args(PrivateData)) == KINDS
    assert DEFAULT < KINDS


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "13", "138\n", "a@", "a.", "A ", "Aa ", "12 Aa ", "路1号", "北京市", "王先生",
     "姓名：", "(0", "0-", "Mr A", "1.2.", "DE89 ", "京A", "Name: A", "a [at] ", "一", "+1"],
)  # fmt: skip
def test_hostile_texts_are_searched_in_linear_time(piece: str) -> None:
    # Quadratic, a megabyte would take hours: the run's time limit is the test.
    find_private(piece * (1_000_000 // len(piece.encode())), KINDS)


@pytest.mark.data
def test_real_passages_hold_nothing_of_the_default_but_phones(shared_data: Path) -> None:
    for name in ("docs_en_squad2/passages", "docs_zh_cmrc2018/passages", "faq_en_covid/kb"):
        for line in (shared_data / f"{name}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            text = row.get("text") or row["answer"]
            assert find_private(text, DEFAULT) == [], text
