"""Questions that mean the same are grouped, also across languages; a chain is no group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from knowledge.alike import group_alike, said
from knowledge.embedding import Embedder, open_embedder
from knowledge.geometry import generic_means
from tests.cache import MODEL_CACHE

GENERIC = np.zeros((2, 3), np.float32)


class Placed:
    """Puts each question where a test says, in degrees on a circle; they are about one thing."""

    key, dimensions = "placed", 3

    def __init__(self, **degrees: float) -> None:
        self._degrees = degrees

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.radians([self._degrees[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1).astype(np.float32)

    embed_passages = embed_queries


def groups(**degrees: float) -> tuple[tuple[int, ...], ...]:
    # As many again opposite: then the middle of all is in the middle.
    opposite = {f"{name}-": angle + 180 for name, angle in degrees.items()}
    embedder = Placed(**degrees, **opposite)
    found = grouped([*degrees, *opposite], embedder)
    count = len(degrees)
    return tuple(group for group in found if group[0] < count)


def grouped(
    questions: list[str], embedder: Embedder, generic: NDArray[np.float32] = GENERIC
) -> tuple[tuple[int, ...], ...]:
    texts = [said(question) for question in questions]
    vectors = dict(zip(texts, embedder.embed_queries(texts), strict=True))
    return group_alike(questions, vectors, generic)


def test_the_largest_group_comes_first_and_its_middle_stands_for_it() -> None:
    assert groups(alone=100, first=0, middle=10, last=20) == ((2, 1, 3), (0,))


def test_a_chain_of_neighbours_is_no_group() -> None:
    found = groups(a=0, b=40, c=80, d=120)
    assert found == ((1, 0, 2), (3,))


def test_who_stands_for_a_group_is_told_by_what_is_left() -> None:
    # Before the first group is taken, "d" is as good a middle as "e".
    found = groups(a=0, x=1, b=6, c=55, d=62, e=110, f=120)
    assert found == ((2, 0, 1, 3), (5, 4, 6))


def test_nothing_gives_no_group() -> None:
    assert group_alike([], {}, GENERIC) == ()


def test_the_same_words_are_one_group_whatever_their_layout_and_script() -> None:
    embedder = Placed(**{"怎么退货？": 0, "refund": 180})
    found = grouped(["怎麼退貨？", "怎么退货？", "怎么退货？ ", "refund"], embedder)
    assert found == ((0, 1, 2), (3,))


@pytest.mark.slow
def test_the_bundled_model_groups_questions_of_two_languages() -> None:
    bundled = open_embedder("bundled", MODEL_CACHE)
    asked = [
        "How do I return an item?", "Where is my parcel?", "怎么退货？", "I want to send this back",
        "我的快递到哪里了？", "What are your opening hours?", "How can I return a product?",
    ]  # fmt: skip
    found = grouped(asked, bundled, generic_means(bundled))
    assert sorted(sorted(group) for group in found) == [[0, 6], [1, 4], [2], [3], [5]]
