"""Text is repaired, noise is dropped, and what says something stays."""

from __future__ import annotations

import base64
import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from knowledge.cleaning import CleaningPolicy, clean, clean_document
from knowledge.cleaning.quality import drop_noise
from knowledge.cleaning.repair import repair
from knowledge.documents import Document, Section

NOTHING = CleaningPolicy(repair=False, drop_noise=False, mask=frozenset())
CHINESE = "退货须在七天内，请联系客服。"


def document(text: str, heading: str = "") -> Document:
    return Document(id="a", kind="document", sections=(Section(heading, text),))


def kept(text: str, heading: str = "") -> str | None:
    cleaned, _ = drop_noise(document(text, heading))
    return cleaned.sections[0].text if cleaned else None


@pytest.mark.parametrize(
    ("broken", "sound"),
    [
        ("The customerâ€™s cafÃ©", "The customer’s café"),
        (CHINESE.encode().decode("latin-1"), CHINESE),
        ("用户登录".encode().decode("gb18030"), "用户登录"),
        ("第一行\n" + "用户登录".encode().decode("gb18030"), "第一行\n用户登录"),
        ("Preis Â£20", "Preis £20"),
    ],
)
def test_text_read_in_the_wrong_encoding_is_repaired(broken: str, sound: str) -> None:
    assert repair(broken) == (sound, 1)


@pytest.mark.parametrize(
    "text",
    [
        "naïve café résumé – “quoted” 5 × 3 µm ± 2 °C",
        "ÄÖÜ äöü ß É Ã © ® ™ 100 €",
        "联通、停止、某些、学院、约为",
        "鐵路與銀行的鐘聲",
        "ありがとう 한국어 Привет",
    ],
)
def test_sound_text_is_not_repaired(text: str) -> None:
    assert repair(text) == (text, 0)


def test_control_characters_of_broken_text_reach_the_repair() -> None:
    read = clean(CHINESE.encode().decode("latin-1"))
    cleaned, counts = clean_document(document(read), CleaningPolicy())
    assert cleaned == document(CHINESE)
    assert counts == {"lines repaired": 1}


def test_control_characters_elsewhere_are_dropped() -> None:
    assert clean("a\x85b\x00c\x9dd\u200be\r\nf") == "a\nbcde\nf"


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        ("This page intentionally left blank.", "blank page"),
        ("（本页空白）", "blank page"),
        ("Home | Products | About us | Contact", "navigation"),
        ("首页 > 产品中心 > 帮助中心", "navigation"),
        ("Skip to main content", "navigation"),
        ("返回顶部", "navigation"),
        ("上一篇：关于退货的通知", "navigation"),
        ("We use cookies to improve your visit.\nAccept all cookies", "cookie banner"),
        ("本网站使用 Cookie 以改善体验。全部接受", "cookie banner"),
        ("1 Set up ..... 3\n2 Use ..... 5\n3 Care ..... 9\n4 Help ..... 12", "table of contents"),
        ("(cid:12)(cid:44)(cid:3) (cid:9)", "unreadable"),
        ("\ue001\ue002\ue003 \ufffd\ufffd a", "unreadable"),
        ("---- * * * ----", "unreadable"),
    ],
)  # fmt: skip
def test_noise_is_dropped_and_said(noise: str, reason: str) -> None:
    cleaned, counts = drop_noise(document(noise))
    assert cleaned is None
    assert set(counts) == {reason}
    both, _ = drop_noise(
        Document(id="a", kind="document", sections=(Section("", noise), Section("", "Text.")))
    )
    assert both is not None
    assert [section.text for section in both.sections] == ["Text."]


def test_what_stands_beside_noise_stays() -> None:
    text = "Skip to content\n\nReturns take 7 days.\n\nBack to top"
    assert kept(text) == "Returns take 7 days."


@pytest.mark.parametrize(
    "text",
    [
        "Home delivery, contact and support are free.",
        "How do I accept cookies? We use cookies for the cart; open Settings and choose Accept.",
        "Coffee ........ 3\nTea ........ 2\nCake ........ 5\nMilk ........ 1",
        "Espresso ........ 2\nCoffee ........ 3\nCake ........ 5\nMenu ........ 9",
        "1 Coffee ..... 9\n2 Tea ..... 3\n3 Milk ..... 2\n4 Water ..... 1",
        "| 1 | 2 |\n" * 20,
        "12.5\n13.7\n" * 4,
        "北京",
        "OK",
        "退出登录：点“我的”，再点“退出”。",
    ],
)
def test_what_only_looks_like_noise_stays(text: str) -> None:
    assert kept(text) == text


def test_a_line_repeated_through_a_page_is_kept_once() -> None:
    text = "CONFIDENTIAL\n" * 15 + "Returns take 7 days."
    assert kept(text) == "CONFIDENTIAL\nReturns take 7 days."


def test_faq_entries_are_not_judged() -> None:
    entry = Document(id="f", kind="faq", question="Back to top", answer="Home | About | Contact")
    assert drop_noise(entry) == (entry, {})


def test_steps_that_are_switched_off_leave_the_document_as_it_is() -> None:
    noisy = document("Back to top\ncafÃ© 手机13812345678")
    assert clean_document(noisy, NOTHING) == (noisy, {})
    cleaned, counts = clean_document(noisy, pickle.loads(pickle.dumps(CleaningPolicy())))
    assert cleaned == document("café 手机[手机号]")
    assert counts == {
        "lines repaired": 1,
        "navigation lines dropped": 1,
        "mobile masked": 1,
    }


@pytest.mark.data
def test_no_line_of_real_passages_is_taken_for_noise_or_damage(shared_data: Path) -> None:
    names = (
        "docs_en_squad2/passages",
        "docs_zh_cmrc2018/passages",
        "crosslingual_xquad/passages_zh",
        "multiturn_en_cast2021/passages",
        "multiturn_zh_kdconv_travel/docs",
    )
    for name in names:
        for line in (shared_data / f"{name}.jsonl").read_text("utf-8").splitlines():
            text = json.loads(line)["text"]
            assert drop_noise(document(text)) == (document(text), {})
            assert repair(text) == (text, 0)


@pytest.mark.parametrize(
    "text",
    [
        "the kettle is switched off and then it is filled with water " * 10,
        " ".join(f"part{number} fits model{number * 7}" for number in range(40)),
        "\n".join(f"X{number:04}A" for number in range(120)),
    ],
)
def test_long_texts_without_punctuation_are_kept(text: str) -> None:
    document = Document(id="a", kind="document", sections=(Section("", text),))
    assert drop_noise(document) == (document, Counter())


def test_encoded_files_are_dropped() -> None:
    text = base64.encodebytes(bytes(range(256)) * 8).decode()
    document = Document(id="a", kind="document", sections=(Section("", text),))
    assert drop_noise(document)[0] is None
