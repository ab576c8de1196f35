"""Which language a text is in."""

from __future__ import annotations

import pytest

from kfbot.conversation import Language
from kfbot.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I return an item?", "en"), ("refund", "en"), ("OK", "en"),
        ("Où est mon colis ?", "en"),
        ("How do I say 谢谢", "en"), ("What does 退货 mean in your shop rules", "en"),
        ("运费是多少", "zh"), ("退款", "zh"), ("iPhone 15 怎么退货", "zh"),
        ("请问 return policy 是什么", "zh"),
        ("我的 order number 是多少", "zh"), ("https://example.com/abc 这个怎么用", "zh"),
        ("發票怎麼開", "zh"), ("VIP会员", "zh"), ("㐀㐁", "zh"), ("运费？refund", "zh"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("default", ["zh", "en"])
def test_the_language_is_the_one_with_more_words(
    text: str, language: Language, default: Language
) -> None:
    assert language_of(text, default) == language


@pytest.mark.parametrize("text", ["", "  ", "12345", "😀👍", "?!…", "。。。", "+86 138-0000-0000"])
def test_a_text_without_words_is_in_the_language_spoken_before(text: str) -> None:
    assert language_of(text) == "en"
    assert language_of(text, "zh") == "zh"
