"""Drops what no question can be about: residue of web pages and of layout, unreadable text.

A false drop loses an answer, so a line goes only when it is certain what it is.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from knowledge.documents import Document, Section
from knowledge.sentences import is_table_row

_BLANK_PAGE = re.compile(
    r"[\s\[(（【*_-]*(?:this page (?:is |has been )?(?:intentionally )?left blank"
    r"(?: intentionally)?"
    r"|intentionally (?:left )?blank|(?:本|此)页(?:面)?(?:特意|有意|故意|为)?(?:留白|空白页?|留空)"
    r"|(?:空白页|以下空白|以下无正文|此页无正文))[\s\])）】*_.。-]*",
    re.IGNORECASE,
)
_NAVIGATION_WORDS = (
    "home|about(?: us)?|contact(?: us)?|log ?in|log ?out|sign ?in|sign ?up|register|search|menu"
    "|next|previous|prev|back|sitemap|site map|privacy(?: policy)?|terms(?: of (?:use|service))?"
    "|cookies|careers|blog|news|help|support|faq|products?|services|shop|cart|my account|english"
    "|share|tweet|facebook|twitter|linkedin|youtube|instagram|rss|print|subscribe|newsletter"
    "|首页|主页|上一[页篇条]|下一[页篇条]|返回(?:首页|顶部|上一页|列表)?|关于我们|联系我们|登录|注册"
    "|退出|搜索|菜单|网站地图|隐私(?:政策|声明)?|服务条款|法律声明|友情链接|加入我们|招贤纳士|帮助中心"
    "|产品中心|新闻中心|购物车|我的账户|我的订单|分享(?:到)?|收藏(?:本站)?|打印(?:本页)?|微信|微博|更多"
    "|设为首页|加入收藏|简体中文|繁體中文|中文|全部|末页|尾页"
)
_NAVIGATION_SEPARATOR = r"[\s|/›»>·•,，、-]+"
_NAVIGATION = re.compile(
    rf"\W*(?:{_NAVIGATION_WORDS})(?:{_NAVIGATION_SEPARATOR}(?:{_NAVIGATION_WORDS})){{2,30}}\W*",
    re.IGNORECASE,
)
_JUMP = re.compile(
    r"[\W_]*(?:skip (?:to|navigation)(?: (?:the )?(?:main )?(?:content|navigation))?"
    r"|(?:back|return) to (?:the )?top|jump to (?:content|navigation)"
    r"|(?:返回|回到)(?:页面)?顶部|跳(?:转)?(?:到|至)(?:主要)?内容|您?(?:现在"
    r"|当前)的?位置\s*[:：].{0,60}"
    r"|(?:上|下)一[篇页条]\s*[:：].{0,60})[\W_]*",
    re.IGNORECASE,
)
# A line that short can be a button; a longer one says something.
_LONGEST_NAVIGATION = 200
_LONGEST_BANNER = 600
_BANNER = re.compile(
    r"(?:this (?:web)?site|we|our (?:web)?site)(?: and our partners)? uses? cookies"
    r"|(?:本站|本网站|我们|我們)(?:会)?(?:使用|采用|採用)\s?cookies?",
    re.IGNORECASE,
)
_BANNER_BUTTON = re.compile(
    r"(?:^|[\n.!?|。！？])\s*"
    r"(?:accept(?: all)?(?: cookies)?|reject(?: all)?|allow all(?: cookies)?|got it!?|i agree"
    r"|cookie settings|manage (?:preferences|cookies)|decline|customi[sz]e"
    r"|(?:全部)?(?:接受|同意|拒绝)(?:全部|所有)?(?:\s?cookies?)?|同意并继续|我知道了|知道了"
    r"|管理\s?cookies?"
    r"|cookie\s?设置)[\s\].。!！]*$",
    re.IGNORECASE,
)

_PAGE_NUMBER = re.compile(r"(?<=[\s.…·])\d{1,4}\s*$")
_LEADER_MARKS = " \t.…·\u00a0"
_LEADERS = re.compile(r"\.{4}|…{2}|·{4}|(?:\. ){3}\.")
_CHAPTER = re.compile(
    r"\s*(?:\d+(?:\.\d+)*[.、\s]|第.{1,4}[章节條条篇部]|[一二三四五六七八九十]+[、．.]"
    r"|chapter|part|section|appendix|附录|[ivx]+\.\s)",
    re.IGNORECASE,
)
_CONTENTS = re.compile(r"\s*(?:目\s*[录錄次]|(?:table of )?contents)\s*", re.IGNORECASE)
_LEAST_LEADERS = 4

_UNREADABLE = re.compile("\ufffd|[\ue000-\uf8ff]|\\(cid:\\d{1,5}\\)|[\u2580-\u259f]")
_MOST_UNREADABLE = 0.5
_WORD_CHARACTER = re.compile(r"[^\W_]")
# Base64, in lines as they are usually broken: words are shorter.
_BLOB = re.compile(r"(?:[A-Za-z0-9+/]{40,}\s+)*[A-Za-z0-9+/]+={0,2}")
_SHORTEST_BLOB = 400
# Rows of equal cells are data; a line of this kind is repeated by a fault of the page.
_REPEATED = 10


def drop_noise(document: Document) -> tuple[Document | None, Counter[str]]:
    """The document without noise, None when nothing else is in it; and what was dropped, by kind.

    FAQ entries, which somebody wrote as they are, pass unchanged.
    """
    counts: Counter[str] = Counter()
    if document.kind == "faq":
        return document, counts
    kept: list[Section] = []
    for section in document.sections:
        text, dropped = _clean_text(section)
        counts.update(dropped)
        if text == section.text:
            kept.append(section)
        elif text:
            kept.append(replace(section, text=text))
    if not counts:
        return document, counts
    return (replace(document, sections=tuple(kept)) if kept else None), counts


def _clean_text(section: Section) -> tuple[str, Counter[str]]:
    """What stays of a section ("" for nothing) and the number of lines dropped, by kind."""
    text = section.text
    lines = text.split("\n")
    if _is_unreadable(text):
        return "", Counter({"unreadable": len(lines)})
    kinds = [_kind_of(line) for line in lines]
    _mark_banners(lines, kinds)
    _mark_contents(section.heading, lines, kinds)
    _mark_repeated(lines, kinds)
    counts = Counter(kind for kind in kinds if kind)
    if not counts:
        return text, counts
    kept = "\n".join(line for line, kind in zip(lines, kinds, strict=True) if not kind)
    return re.sub(r"\n{3,}", "\n\n", kept).strip("\n").rstrip(), counts


def _is_unreadable(text: str) -> bool:
    """Whether a text has no words at all, or hardly a character that can be read."""
    if not _WORD_CHARACTER.search(text):
        return True
    broken = _UNREADABLE.findall(text)
    if sum(map(len, broken)) > _MOST_UNREADABLE * sum(not c.isspace() for c in text):
        return True
    blob = text.strip()
    return len(blob) >= _SHORTEST_BLOB and _BLOB.fullmatch(blob) is not None


def _kind_of(line: str) -> str:
    if not line or len(line) > _LONGEST_NAVIGATION:
        return ""
    if _BLANK_PAGE.fullmatch(line):
        return "blank page"
    if _JUMP.fullmatch(line) or _NAVIGATION.fullmatch(line):
        return "navigation"
    return ""


def _mark_banners(lines: list[str], kinds: list[str]) -> None:
    """Mark paragraphs that ask for consent to cookies and end in the button."""
    for start, end in _paragraphs(lines):
        paragraph = "\n".join(lines[start:end])
        if (
            len(paragraph) <= _LONGEST_BANNER
            and _BANNER.search(paragraph)
            and _BANNER_BUTTON.search(paragraph)
        ):
            kinds[start:end] = ["cookie banner"] * (end - start)


def _paragraphs(lines: list[str]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for number, line in enumerate([*lines, ""]):
        if not line.strip():
            if start < number:
                spans.append((start, number))
            start = number + 1
    return spans


def _mark_contents(heading: str, lines: list[str], kinds: list[str]) -> None:
    """Mark tables of contents: leaders to page numbers that never fall.

    A menu with its prices looks alike, so chapters must be numbered or the list be named.
    """
    found = [(n, *entry) for n, line in enumerate(lines) if (entry := _contents_entry(line))]
    if len(found) < _LEAST_LEADERS:
        return
    pages = [page for _, _, page in found]
    before = [heading.rpartition("› ")[2], *lines[: found[0][0]]]
    named = any(_CONTENTS.fullmatch(line) for line in before)
    numbered = sum(_CHAPTER.match(label) is not None for _, label, _ in found)
    if pages == sorted(pages) and (named or numbered * 2 >= len(found)):
        for number, _, _ in found:
            kinds[number] = "table of contents"


def _contents_entry(line: str) -> tuple[str, int] | None:
    """The label and the page of a line with a leader between them."""
    number = _PAGE_NUMBER.search(line[-12:]) if len(line) < _LONGEST_NAVIGATION else None
    if number is None:
        return None
    rest = line.rstrip()[: -len(number[0].rstrip())]
    label = rest.rstrip(_LEADER_MARKS)
    return (label, int(number[0])) if label and _LEADERS.search(rest[len(label) :]) else None


def _mark_repeated(lines: list[str], kinds: list[str]) -> None:
    """Mark all but the first of a line that makes up most of its section."""
    if len(lines) < _REPEATED:
        return
    counts = Counter(line.strip() for line in lines if line.strip())
    line, times = counts.most_common(1)[0] if counts else ("", 0)
    if times < _REPEATED or times * 2 < counts.total() or is_table_row(line):
        return
    same = [number for number, other in enumerate(lines) if other.strip() == line]
    for number in same[1:]:
        kinds[number] = kinds[number] or "repeated line"
