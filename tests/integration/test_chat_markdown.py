"""The chat page's own Markdown in a real browser: text of anybody becomes no markup but its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import strategies as st
from playwright.async_api import Browser, Page, Route

from tests.fuzz.profile import fuzz
from tests.fuzz.test_rendering import FRAGMENTS, MARKDOWN
from tests.integration.test_chat_page import browser

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

_STATIC = Path(__file__).parents[2] / "kfbot/web/static"
_ATTRIBUTES = {
    **{tag: set[str]() for tag in ("blockquote", "br", "code", "del", "em", "hr", "li", "strong")},
    "a": {"href", "target", "rel"},
    "ol": {"start"},
    "p": {"role", "aria-level", "class"},
    "pre": {"tabindex"},
    "ul": set[str](),
}
#: Renders texts, and gives back trees of [tag, attributes, children], children trees or texts.
_RENDER = """async (texts) => {
  const { renderMarkdown } = await import("/markdown.js");
  const tree = (node) => node.nodeType === Node.TEXT_NODE ? node.data : [
    node.localName ?? "",
    Object.fromEntries([...(node.attributes ?? [])].map((one) => [one.name, one.value])),
    [...node.childNodes].map(tree),
  ];
  return texts.map((text) => tree(renderMarkdown(text)));
}"""


async def _serve(route: Route) -> None:
    name = route.request.url.rpartition("/")[2]
    if name:
        await route.fulfill(path=_STATIC / name, content_type="text/javascript")
    else:
        await route.fulfill(body="<!doctype html>", content_type="text/html")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Browser) -> Any:
    opened = await browser.new_page()
    await opened.route("**/*", _serve)
    await opened.goto("http://page.test/")
    yield opened
    await opened.close()


async def rendered(page: Page, texts: Sequence[str]) -> list[Any]:
    """What becomes of each text; fails where the page stands still."""
    async with asyncio.timeout(60):
        found: list[Any] = await page.evaluate(_RENDER, texts)
    return found


def _elements(tree: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for child in tree[2]:
        if not isinstance(child, str):
            yield child[0], child[1]
            yield from _elements(child)


def _letters(tree: Any) -> str:
    return tree if isinstance(tree, str) else "".join(map(_letters, tree[2]))


# Many texts at a time: to ask the browser costs more than all of them.
@fuzz(3, texts=st.lists(MARKDOWN, min_size=30, max_size=50))
async def test_the_chat_page_makes_only_elements_of_text_and_links_for_the_web(
    page: Page, texts: list[str]
) -> None:
    for tree in await rendered(page, texts):
        for tag, attributes in _elements(tree):
            assert set(attributes) <= _ATTRIBUTES[tag]
            assert attributes.get("href", "http:").startswith(("http:", "https:", "mailto:"))
            if tag == "a":
                assert attributes["rel"] == "noopener noreferrer"


async def test_no_word_of_a_text_is_lost_in_the_chat_page(page: Page) -> None:
    texts = [f"left {one} middle {one} right" for one in FRAGMENTS]
    for text, tree in zip(texts, await rendered(page, texts), strict=True):
        shown = _letters(tree)
        assert all(word in shown for word in ("left", "middle", "right")), text


async def test_a_text_of_a_hundred_thousand_characters_does_not_stop_the_chat_page(
    page: Page,
) -> None:
    units = ("<a>", "*a ", "[a](", "> ", "- ", "`a", "__", "(")
    texts = [unit * (100_000 // len(unit)) for unit in units]
    # Blanks that were shared out among three repeats, with no bracket at their end.
    texts.append("[a](" + " " * 400_000 + "x")
    assert all(len(_letters(tree)) <= 400_010 for tree in await rendered(page, texts))
