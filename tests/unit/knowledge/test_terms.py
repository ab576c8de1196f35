"""The terms of a text, in Chinese and English."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from knowledge import terms


def test_chinese_is_cut_into_words_and_the_words_inside_them() -> None:
    assert terms.tokenise("南京市长江大桥") == [
        "南京",
        "京市",
        "南京市",
        "长江",
        "大桥",
        "长江大桥",
    ]


def test_english_words_meet_in_their_stem() -> None:
    assert terms.tokenise("Returned orders") == terms.tokenise("returning an order")


def test_a_text_in_both_languages_keeps_its_order() -> None:
    assert terms.tokenise("我想退货 iPhone15，不要 refunds!") == [
        "想",
        "退货",
        "iphone15",
        "不要",
        "refund",
    ]


@pytest.mark.parametrize("text", ["ＶＩＰ会员", "vip会员", "VIP 会员"])
def test_width_and_case_make_no_difference(text: str) -> None:
    assert terms.tokenise(text) == ["vip", "会员"]


@pytest.mark.parametrize("text", ["", " \n", "？！…", "what is the 的 吗"])
def test_a_text_without_content_has_no_terms(text: str) -> None:
    assert terms.tokenise(text) == []


def test_the_rest_of_a_contraction_is_no_word() -> None:
    assert terms.tokenise("The parcel's box doesn't fit, we'll return it") == [
        "parcel",
        "box",
        "doesn",
        "fit",
        "return",
    ]


def test_names_with_digits_and_accents_stay_whole() -> None:
    assert terms.tokenise("XR-7500s Café") == ["xr", "7500s", "café"]


def test_repeats_are_counted() -> None:
    assert terms.counts("refund, refunds, 退款") == {"refund": 2, "退款": 1}


def test_the_number_of_a_term_never_changes() -> None:
    assert terms.term_id("退款") == 1597123644
    assert 0 <= terms.term_id("refund") < 2**32


def test_a_term_weighs_more_in_a_shorter_chunk() -> None:
    short = terms.weights({"refund": 1}, average_length=10)
    long = terms.weights({"refund": 1, "box": 30}, average_length=10)
    assert short[terms.term_id("refund")] > long[terms.term_id("refund")]


def test_repeating_a_term_adds_less_and_less() -> None:
    one, two, many = (
        terms.weights({"refund": count}, average_length=count)[terms.term_id("refund")]
        for count in (1, 2, 1000)
    )
    assert one < two < many < terms.K1 + 1


def test_threads_may_tokenise_at_once() -> None:
    words = [f"{stem}{ending}" for stem in ("order", "refund") for ending in ("s", "ed", "ing")]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(terms.tokenise, words * 500))
    assert {tuple(one) for one in found} == {("order",), ("refund",)}


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("我想退貨", "我想退货"),
        ("訂單的運費由誰負擔", "订单的运费由谁负担"),
        ("軟體更新後滑鼠沒有反應", "软件更新后鼠标没有反应"),
        ("ＡＢＣ１２３", "abc123"),
    ],
)
def test_both_scripts_have_the_same_terms(traditional: str, simplified: str) -> None:
    assert terms.tokenise(traditional) == terms.tokenise(simplified)


def test_words_that_only_hold_a_regional_one_stay_as_they_are() -> None:
    assert "软体动物" in terms.tokenise("軟體動物")
    assert "自行车" not in terms.tokenise("订单车辆")


def test_japanese_is_embedded_as_it_is_written() -> None:
    assert terms.simplify("東京の天気") == "東京の天気"
    assert terms.simplify("退貨 refund") == "退货 refund"
