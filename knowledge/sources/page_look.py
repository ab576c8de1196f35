"""What a crawler looks for in an HTML page: links, what it says to robots, whether it is a login.

Linear in the length of the page, however it is broken; what it says is read by its format.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge.cleaning import find_encoding
from knowledge.sources.http import ROBOT

_MOST_CHARS = 5_000_000
_MOST_LINKS = 5000
_SHORT_CHARS = 1500
# Every alternative that swallows text ends at the end of the page too: no second look at it.
_PIECE = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?:script|style|template)\b.*?(?:</(?:script|style|template)|\Z)"
    r"|<(a|area|base|link|meta|input)\b([^<>]{0,8000})>",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([\w:-]{1,40})\s{0,20}=\s{0,20}("[^"]*"|'[^']*'|[^\s"'>]+)""")
#: Name in small letters, attributes by their names in small letters.
_Tag = tuple[str, Mapping[str, str]]
_REFRESH = re.compile(r"\s*\d+\s*[;,]\s*url\s*=\s*['\"]?([^'\"]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Look:
    """What is said in a page besides its text."""

    #: As written, in order, each once.
    links: tuple[str, ...]
    #: What they are relative to, as written; "": to the page.
    base: str
    canonical: str
    #: Directives to robots, in small letters.
    robots: frozenset[str]
    #: It asks for a password and says little else.
    is_login: bool
    has_password: bool


def look_at(path: Path, said_by_server: str = "") -> Look:
    """Look at an HTML page; of one that is no text nothing is seen.

    Args:
        said_by_server: The X-Robots-Tag header.

    Raises:
        OSError: It cannot be read.
    """
    encoding = find_encoding(path)
    text = ""
    if encoding is not None:
        with encoding.open(path) as file:
            text = file.read(_MOST_CHARS)
    tags = list(_tags(text))
    canonicals = [at for at in _all(tags, "link") if "canonical" in at.get("rel", "").split()]
    has_password = any(at.get("type", "").lower() == "password" for at in _all(tags, "input"))
    return Look(
        links=_links(tags),
        base=_first(_all(tags, "base"), "href"),
        canonical=_first(canonicals, "href"),
        robots=_directives(_all(tags, "meta"), said_by_server),
        is_login=has_password and len(_text(text)) < _SHORT_CHARS,
        has_password=has_password,
    )


def _all(tags: Sequence[_Tag], name: str) -> list[Mapping[str, str]]:
    return [attributes for tag, attributes in tags if tag == name]


def _first(found: Sequence[Mapping[str, str]], attribute: str) -> str:
    return next((at[attribute].strip() for at in found if at.get(attribute)), "")


def _links(tags: Sequence[_Tag]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for tag, attributes in tags:
        if tag in ("a", "area"):
            found.setdefault(attributes.get("href", "").strip())
        elif tag == "meta":
            found.setdefault(_refresh(attributes))
    return tuple(link for link in found if link)[:_MOST_LINKS]


def _tags(text: str) -> Iterator[_Tag]:
    for piece in _PIECE.finditer(text):
        if piece[1]:
            yield (
                piece[1].lower(),
                {
                    name.lower(): html.unescape(value.strip("\"'"))
                    for name, value in _ATTRIBUTE.findall(piece[2])
                },
            )


def _refresh(attributes: Mapping[str, str]) -> str:
    if attributes.get("http-equiv", "").lower() != "refresh":
        return ""
    found = _REFRESH.match(attributes.get("content", ""))
    return found[1] if found else ""


def _directives(metas: Sequence[Mapping[str, str]], by_server: str) -> frozenset[str]:
    """What is said to us by name, else what is said to all robots."""
    said = {at.get("name", "").lower(): at.get("content", "") for at in metas}
    lines = [said.get(ROBOT, said.get("robots", ""))]
    for line in by_server.lower().split("\n"):
        robot, colon, rest = line.partition(":")
        if not colon:
            lines.append(line)
        elif robot.strip() == ROBOT:
            lines.append(rest)
    found = frozenset(word.strip() for line in lines for word in line.lower().split(","))
    return found | {"noindex", "nofollow"} if "none" in found else found


def _text(text: str) -> str:
    return " ".join(re.sub(r"<[^<>]*>", " ", _PIECE.sub(" ", text)).split())
