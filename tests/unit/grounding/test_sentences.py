"""Sentences come out whole, once, and as soon as they are over."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kfbot.grounding.sentences import SentenceStream, sentences

TEXT = (
    "It costs 5.5 e.g. for Mr. Smith [1]. See v2.0 at https://a.b/c?q=1. “Yes.”[1][2] 好的。[1] "
    "可以【1】。下一句！”No. 5 is in the U.S. market... perhaps [1, 2].\n"
    "1. First.[1]\n2. Mail a@b.com."
)
_PIECES = 'ab 1.。！?[]【】\n”"),，e.g'


def fed(pieces: list[str]) -> list[str]:
    stream = SentenceStream()
    found = [sentence for piece in pieces for sentence in stream.feed(piece)]
    return found + stream.close()


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("It costs 5.5 dollars. Yes.", ["It costs 5.5 dollars.", " Yes."]),
        ("See e.g. Mr. Smith. No. 5 is here.", ["See e.g. Mr. Smith.", " No. 5 is here."]),
        ("In the U.S. market. Yes.", ["In the U.S. market.", " Yes."]),
        ("Get v2.0 at https://a.b/c?q=1. Yes.", ["Get v2.0 at https://a.b/c?q=1.", " Yes."]),
        ("Write to a@b.com. Yes.", ["Write to a@b.com.", " Yes."]),
        ("One.[1] Two [2]. Three.", ["One.[1]", " Two [2].", " Three."]),
        ("One.[1][2] Two. [1, 2] Three.", ["One.[1][2]", " Two. [1, 2]", " Three."]),
        ("好的。[1]可以【1】。还有！", ["好的。[1]", "可以【1】。", "还有！"]),
        ("他说“可以。”[1]好。", ["他说“可以。”[1]", "好。"]),
        ("1. First step.\n2. Second", ["1. First step.", "\n2. Second"]),
        ("Well... perhaps. Yes.", ["Well... perhaps.", " Yes."]),
    ],
)
def test_sentences_are_cut_where_they_end(text: str, cut: list[str]) -> None:
    assert sentences(text) == cut


@given(st.data())
def test_however_a_text_is_cut_into_pieces_the_sentences_are_the_same(data: st.DataObject) -> None:
    text = data.draw(st.one_of(st.just(TEXT), st.text(alphabet=_PIECES, max_size=40)))
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert fed(pieces) == sentences(text)
    assert fed(list(text)) == sentences(text)


@given(st.text(alphabet=_PIECES, max_size=60))
@example(TEXT)
def test_together_the_sentences_are_the_text(text: str) -> None:
    joined = "".join(sentences(text))
    assert text.startswith(joined)
    assert not text[len(joined) :].strip()


@pytest.mark.parametrize(
    "text", ["Returns are free [1].", "可以退货[1]。", "可以【1】。", "Yes [1][2]."]
)
def test_behind_a_mark_the_full_stop_itself_ends_a_sentence(text: str) -> None:
    stream = SentenceStream()
    assert stream.feed(text[:-1]) == []
    assert stream.feed(text[-1]) == [text]


@pytest.mark.parametrize(
    ("text", "after"), [("It is.[1]", " "), ("可以。", "还"), ("可以。[1]", "还")]
)
def test_elsewhere_one_more_character_ends_it(text: str, after: str) -> None:
    stream = SentenceStream()
    assert stream.feed(text) == []
    assert stream.feed(after + "x") == [text]
