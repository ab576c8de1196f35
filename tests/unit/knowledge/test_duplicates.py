"""Documents that say the same are found; those that differ where it matters are not."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from knowledge.cleaning.duplicates import Signed, find_conflicts, find_duplicates, signature
from knowledge.documents import Document, Section

CHINESE = (
    "智能门锁安装完成后，请先录入管理员指纹，再添加普通用户。每位用户最多录入三枚指纹，门锁支持密码开锁。"
    "如果连续五次输入错误，门锁会自动锁定三分钟。电池电量低于百分之二十时，系统会发出提示音，请及时更换电池。"
    "保修期内出现质量问题，可以联系客服安排上门维修。门锁的外壳请用软布擦拭，避免使用酒精等清洁剂。"
)
ENGLISH = (
    "After the smart lock is installed, record the fingerprint of the owner, then add others. "
    "Each person can store 3 fingerprints, and the lock opens with a code too. When a wrong code "
    "is entered 5 times, the lock stays closed for 3 minutes. When the battery is below 20 percent "
    "the lock sounds a tone; please change the battery soon. Under warranty our service comes to "
    "your house and repairs what is broken. Clean the lock with a soft cloth and without alcohol."
)


def document(text: str, title: str = "") -> Document:
    return Document(id="a", kind="document", title=title, sections=(Section("", text),))


def merged(one: Document, other: Document) -> bool:
    items = [Signed("one", "a", signature(one)), Signed("two", "b", signature(other))]
    return find_duplicates(items) == {"two": "one"}


def faq(question: str, answer: str, *variants: str) -> Document:
    return Document(id="f", kind="faq", question=question, answer=answer, variants=variants)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (CHINESE, CHINESE.replace("，", ",").replace("。", ".\n")),
        (CHINESE, CHINESE[:50] + "\n" + CHINESE[50:]),
        (CHINESE, CHINESE.replace("擦拭", "擦试")),
        (CHINESE, "安装使用须知\n\n" + CHINESE),
        (ENGLISH, ENGLISH.replace(". ", ".\n\n").replace(", ", " ")),
        (ENGLISH, ENGLISH.replace("recorded", "record").replace("soft cloth", "soft clotb")),
        (ENGLISH, "Smart lock, battery\n\n" + ENGLISH),
    ],
)
def test_layout_punctuation_a_heading_and_a_typo_make_no_other_document(
    text: str, same: str
) -> None:
    assert text != same
    assert merged(document(text), document(same))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (CHINESE, CHINESE.replace("三分钟", "五分钟")),
        (CHINESE, CHINESE.replace("可以联系", "不可以联系")),
        (CHINESE, CHINESE.replace("门锁", "音箱")),
        (CHINESE, CHINESE.replace("智能门锁", "智能门锁 X2")),
        (ENGLISH, ENGLISH.replace("20 percent", "10 percent")),
        (ENGLISH, ENGLISH.replace("can store", "cannot store")),
        (ENGLISH, ENGLISH.replace("smart lock is", "smart lock isn't")),
        (ENGLISH, ENGLISH.replace("smart lock", "Zorbex lock")),
        (ENGLISH, ENGLISH.replace("Under warranty", "Under warranty V2")),
        ("Ships in 5 days.", "Ships in 6 days."),
        ("It costs $5.", "It costs €5."),
        ("Store at -5 °C.", "Store at 5 °C."),
    ],
)
def test_a_number_a_negation_or_a_name_makes_another_document(text: str, other: str) -> None:
    assert text != other
    assert not merged(document(text), document(other))


def test_a_product_swapped_in_a_long_text_makes_another_document() -> None:
    characters = random.Random(0).choices(
        "用户设备安装使用电源开关清洁保养维修服务质量说明注意环境", k=1500
    )
    pieces = ["".join(characters[start : start + 150]) for start in range(0, 1500, 150)]
    dolphin, whale = (document(name.join(pieces)) for name in ("海豚音箱", "鲸鱼音箱"))
    assert not merged(dolphin, whale)
    assert merged(dolphin, document("海豚音箱".join(pieces).replace("海豚", "海屯", 1)))


def test_metadata_and_a_title_tell_documents_apart() -> None:
    one = document(ENGLISH)
    assert not merged(one, replace(one, metadata={"product": "X2"}))
    assert not merged(document(ENGLISH, title="Model X1"), document(ENGLISH, title="Model X2"))
    assert merged(document(ENGLISH, title="lock"), document(ENGLISH, title="lock (1)"))


def test_short_documents_are_merged_only_word_by_word() -> None:
    assert merged(document("Returns take a week."), document("Returns  take a week!"))
    assert not merged(document("Returns take a week."), document("Refunds take a week."))


def test_the_kept_one_has_the_shortest_path_whatever_the_order() -> None:
    paths = ["docs/archive/a.md", "docs/b.md", "docs/a.md"]
    copies = [Signed(str(n), path, signature(document(ENGLISH))) for n, path in enumerate(paths)]
    wanted = {"0": "2", "1": "2"}
    for seed in range(5):
        shuffled = random.Random(seed).sample(copies, len(copies))
        assert find_duplicates(shuffled) == wanted


def test_no_document_is_kept_for_one_that_is_dropped_itself() -> None:
    words = ENGLISH.split()
    chain = []
    for step in range(12):
        words[7 * step % len(words)] = "word"
        chain.append(Signed(f"{step:02}", f"{step:02}", signature(document(" ".join(words)))))
    found = find_duplicates(chain)
    assert found
    assert not set(found.values()) & found.keys()


def test_faq_entries_with_one_question_and_two_answers_are_a_conflict() -> None:
    items = [
        Signed("a", "a", signature(faq("能退货吗？", "七天内可以。"))),
        Signed("b", "b", signature(faq("能退货吗", "七天内可以"))),
        Signed("c", "c", signature(faq("能退货吗？", "十天内可以。"))),
        Signed("d", "d", signature(faq("怎么退货？", "七天内可以。"))),
        Signed("e", "e", signature(faq("能退货吗？", "七天内可以。", "可以退吗"))),
    ]
    assert find_duplicates(items) == {"b": "a"}
    assert find_conflicts(items) == [("a", "c"), ("a", "e")]


def test_a_signature_is_the_same_in_another_process() -> None:
    code = (
        "import sys; from knowledge.cleaning.duplicates import signature;"
        "from knowledge.documents import Document, Section;"
        "print(signature(Document(id='z', kind='document', sections=(Section('', sys.argv[1]),),"
        "metadata={'b': '1', 'a': '2'})).hex())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, CHINESE], capture_output=True, text=True, check=True
    )
    mine = replace(document(CHINESE), metadata={"a": "2", "b": "1"})
    assert other.stdout.strip() == signature(mine).hex()


def test_signatures_of_another_version_are_like_no_other() -> None:
    old = b"\0" + signature(document(ENGLISH))[1:]
    items = [Signed("a", "a", old), Signed("b", "b", old), Signed("c", "c", b"short")]
    assert find_duplicates(items) == {}
    assert find_conflicts(items) == []


def test_many_documents_of_one_kind_are_compared_by_their_likes_only() -> None:
    made = np.frombuffer(signature(document(ENGLISH.replace("3", "").replace("5", ""))), np.uint8)
    rng = np.random.default_rng(0)
    items = []
    for number in range(20_000):
        one = made.copy()
        # Other minima and another exact text, under one guard.
        one[-512:] = rng.integers(0, 256, 512, np.uint8)
        one[2:18] = rng.integers(0, 256, 16, np.uint8)
        items.append(Signed(f"{number:05}", f"{number:05}", one.tobytes()))
    copy = Signed("copy", "z" * 9, items[7].signature)
    assert find_duplicates([copy, *items]) == {"copy": "00007"}
