"""Which part of a passage is shown as the answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.extract import best_quote


def tokenise(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]{1}", text.lower())


def quote(question: str, text: str, max_chars: int = 320) -> str:
    return best_quote(dict.fromkeys(tokenise(question), 1.0), text, tokenise, max_chars=max_chars)


FILLER = "Sprucelet was founded by two friends in Oslo many years ago. "
FUELLER = "云杉小筑由两位朋友在杭州创立，至今已有多年历史。"

ENGLISH = (
    FILLER * 3
    + "Parcels to Norway take 7 days. They arrive by post. Gifts are wrapped for free. "
    + FILLER * 3
)
CHINESE = (
    FUELLER * 8 + "退款一般在七个工作日内到账。它会退回原支付方式。礼品包装免费。" + FUELLER * 8
)


def test_a_short_text_is_shown_whole() -> None:
    assert quote("refund", "  One. Two.\n\nThree. ") == "One. Two.\n\nThree."


@pytest.mark.parametrize(
    ("question", "text", "answer"),
    [
        ("gifts wrapped", ENGLISH, "Gifts are wrapped for free."),
        ("礼品包装", CHINESE, "礼品包装免费。"),
        # The next sentence says more about "it".
        ("parcels norway", ENGLISH, "Parcels to Norway take 7 days. They arrive by post."),
        ("退款到账", CHINESE, "退款一般在七个工作日内到账。它会退回原支付方式。"),
        # "They" needs the sentence before it.
        ("arrive by post", ENGLISH, "Parcels to Norway take 7 days. They arrive by post."),
        ("原支付方式", CHINESE, "退款一般在七个工作日内到账。它会退回原支付方式。"),
    ],
)
def test_the_sentences_that_carry_the_terms_are_quoted(
    question: str, text: str, answer: str
) -> None:
    assert quote(question, text) == answer


def test_weightier_terms_decide() -> None:
    text = FILLER * 3 + "Return the kettle. " + FILLER * 3 + "Return the invoice. " + FILLER
    found = best_quote({"return": 1.0, "kettle": 0.5, "invoice": 5.0}, text, tokenise)
    assert found == "Return the invoice."


def test_a_question_in_the_text_is_shown_with_its_answer() -> None:
    text = FILLER * 3 + "How long does a refund take? Seven days. " + FILLER * 3
    assert quote("how long refund take", text) == "How long does a refund take? Seven days."


def test_a_list_stays_a_list_with_the_line_that_announces_it() -> None:
    steps = "退货需要提供以下材料：\n- 订单号\n- 商品照片\n- 发票\n- 手机号\n- 收货地址"
    assert quote("退货需要什么材料", FUELLER * 15 + "\n\n" + steps + "\n\n" + FUELLER) == steps


def test_a_table_row_is_shown_with_its_header() -> None:
    header = "| City | Days | Price |\n|---|---|---|\n"
    body = "".join(f"| Town{number} | {number} | {number} EUR |\n" for number in range(30))
    found = quote("town17", header + body)
    assert found == header + "| Town17 | 17 | 17 EUR |"


def test_rows_of_plain_cells_have_their_first_row_as_header() -> None:
    body = "".join(f"城市{number} | {number}天\n" for number in range(40))
    assert quote("33", f"城市 | 天数\n{body}\n{FUELLER}") == "城市 | 天数\n城市33 | 33天"


def test_an_overlong_sentence_is_cut_at_a_comma() -> None:
    text = "前面说了很多，" * 40 + "保修期是两年，" + "后面又说很多，" * 40 + "完。"
    found = quote("保修期", text, max_chars=60)
    assert "保修期是两年" in found
    assert found.startswith("…")
    assert found.endswith("很多…")
    assert len(found) <= 60


def test_without_any_term_the_beginning_is_shown() -> None:
    found = quote("zebra", ENGLISH)
    assert found == (FILLER * 3 + "Parcels to Norway take 7 days.")


@given(
    st.lists(
        st.sampled_from(["Pay by card. ", "退款很快。", "- item\n", "a | b\n", "Now:\n", "词" * 90])
        | st.text(alphabet="ab，。 \n|", max_size=30),
        max_size=30,
    ).map("".join),
    st.integers(min_value=20, max_value=200),
)
def test_a_quote_is_never_too_long_and_never_empty(text: str, max_chars: int) -> None:
    found = quote("pay 退款 item a", text, max_chars)
    assert len(found) <= max_chars
    assert bool(found) == bool(text.strip())
    assert re.sub(r"[\s…]", "", found[:12])[:5] in re.sub(r"\s", "", text)
