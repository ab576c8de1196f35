"""What a web page holds and shows to nobody: who wrote it there did not write it for readers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bs4 import BeautifulSoup
from bs4.element import Tag

#: Attributes by which something names the element that it opens.
_OPENERS = ("aria-controls", "data-target", "data-bs-target", "href")
#: Names of what is opened by a click, in the classes of an element or of the one around it.
_OPENED = re.compile(
    r"accordion|answer|body|collaps|content|dropdown|expand|faq|fold|more|panel|reveal|section"
    r"|spoiler|tab|toggle",
    re.IGNORECASE,
)
_ZERO = re.compile(r"0(?:\.0+)?(?:px|em|rem|pt|%|vw|vh)?")
_COLOURS = {"white": "#ffffff", "black": "#000000", "rgb(255,255,255)": "#ffffff",
            "rgb(0,0,0)": "#000000"}  # fmt: skip
_SHORT_COLOUR = re.compile(r"#([0-9a-f])([0-9a-f])([0-9a-f])")


@dataclass(frozen=True, slots=True)
class _Whole:
    """What is known of a page as a whole, each read once, however deep it is nested."""

    #: Ids that something on the page opens.
    opened: frozenset[str]
    #: `id()` of the elements in a `<details>`.
    folded: set[int]
    #: `id()` of those around what has a size of letters, of its own, that is not zero.
    around_sizes: set[int]


def unseen(soup: BeautifulSoup) -> list[Tag]:
    """The elements that a page hides and nothing on it opens, as far as the page itself says so.

    By the attribute `hidden`, or a style of their own: display, visibility, no size, the colour of
    the background. What opens by a click is seen: answers in an accordion, tabs. Style sheets and
    scripts are not read.
    """
    # Most pages hide nothing.
    tags = [tag for tag in soup.find_all(True) if tag.has_attr("style") or tag.has_attr("hidden")]
    if not tags:
        return []
    styles = [_style(tag) for tag in tags]
    whole = _Whole(_opened(soup), _folded(soup), _around_sizes(tags, styles))
    found = zip(tags, styles, strict=True)
    return [tag for tag, style in found if _is_unseen(tag, style, whole)]


def _is_unseen(tag: Tag, style: Mapping[str, str], whole: _Whole) -> bool:
    is_away = tag.has_attr("hidden") and str(tag["hidden"]).lower() != "until-found"
    is_away |= style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse")
    if is_away:
        return not _is_opened(tag, whole)
    if _ZERO.fullmatch(style.get("font-size", "")):
        return id(tag) not in whole.around_sizes
    behind = style.get("background-color") or style.get("background", "")
    return bool(behind) and _colour(style.get("color", "")) == _colour(behind)


def _is_opened(tag: Tag, whole: _Whole) -> bool:
    around = [one for one in (tag, tag.parent) if one is not None]
    named = " ".join(str(tag.get(name, "")) for name in ("id", "role"))
    classes = " ".join(
        " ".join(str(name) for name in one.get_attribute_list("class")) for one in around
    )
    is_named = bool(_OPENED.search(f"{named} {classes}"))
    return is_named or str(tag.get("id", "")) in whole.opened or id(tag) in whole.folded


def _opened(soup: BeautifulSoup) -> frozenset[str]:
    named = (str(tag.get(name, "")) for tag in soup.find_all(True) for name in _OPENERS)
    return frozenset(one for whole in named for one in whole.replace("#", " ").split())


def _folded(soup: BeautifulSoup) -> set[int]:
    found: set[int] = set()
    for details in soup.find_all("details"):
        if id(details) not in found:  # Else it is inside of one that was read.
            found.update(id(tag) for tag in details.find_all(True))
    return found


def _around_sizes(tags: Sequence[Tag], styles: Sequence[Mapping[str, str]]) -> set[int]:
    found: set[int] = set()
    for tag, style in zip(tags, styles, strict=True):
        size = style.get("font-size", "")
        if not size or _ZERO.fullmatch(size):
            continue
        for above in tag.parents:
            if id(above) in found:  # And so are those around it: each is looked at once.
                break
            found.add(id(above))
    return found


def _style(tag: Tag) -> dict[str, str]:
    """The declarations of an element's own style."""
    pairs = (one.partition(":") for one in str(tag.get("style", "")).lower().split(";"))
    return {name.strip(): re.sub(r"\s|!important", "", value) for name, _, value in pairs if value}


def _colour(value: str) -> str:
    known = _COLOURS.get(value, value)
    return _SHORT_COLOUR.sub(r"#\1\1\2\2\3\3", known) if len(known) == 4 else known
