"""How what was found is told: a citation names the page, and its link leads there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kfbot.answer import answered
from kfbot.knowledge_base import Passage, Retrieval

PASSAGE = Passage(
    knowledge_base="shop",
    document_id="manual.pdf",
    chunk_id="1",
    kind="document",
    title="Manual",
    heading="Care › Descaling",
    url="https://shop.example/manual.PDF?v=2",
    text="Use citric acid.",
    page=12,
    score=1.0,
)


@pytest.mark.parametrize(
    ("question", "heading"),
    [
        ("How do I descale it?", "Care › Descaling · p. 12"),
        ("怎么除垢？", "Care › Descaling · 第 12 页"),
    ],
)
def test_a_citation_names_the_page_in_the_language_of_the_question(
    question: str, heading: str
) -> None:
    [citation] = answered(question, Retrieval(query=question, passages=(PASSAGE,)), 0.9).citations
    assert citation.heading == heading
    assert citation.url == "https://shop.example/manual.PDF?v=2#page=12"


def test_a_slide_is_named_and_its_link_left_as_it_is() -> None:
    slide = replace(PASSAGE, heading="", url="https://shop.example/tour.pptx")
    [citation] = answered("Where?", Retrieval(query="Where?", passages=(slide,)), 0.9).citations
    assert (citation.heading, citation.url) == ("p. 12", "https://shop.example/tour.pptx")


def test_a_format_without_pages_names_none() -> None:
    [citation] = answered(
        "Where?", Retrieval(query="Where?", passages=(replace(PASSAGE, page=0),)), 0.9
    ).citations
    assert citation.heading == "Care › Descaling"
    assert citation.url == "https://shop.example/manual.PDF?v=2"
