"""Where a text may be parted: paragraphs, lines, sentences, clauses, words; zh and en.

Every function here parts without loss: the parts, joined, are the text again.
"""

from __future__ import annotations

import re
from itertools import pairwise

#: Chinese and Japanese characters and Hangul, which stand without spaces between words.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"

_CJK_CHARACTER = re.compile(f"[{CJK}]")
_ITEM = re.compile(
    r"\s*(?:[-*+•·●○▪]\s+|\(?\d{1,3}[.)]\s+|\d{1,2}\.(?=[^\d\s])|[（(]?\d{1,3}[、）．]"
    r"|[①-⑳]|[（(]?[一二三四五六七八九十]{1,3}[、）])"
)
_HEADING_OR_FENCE = re.compile(r"\s{0,3}(?:#{1,6}\s|```|~~~|>)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"[。！？；…!?.]+[\"'”’」』）)\]】》]*")
_CLAUSE_END = re.compile(r"(?:[，、：；]|[,:;](?!\d))\s*|\s[-–—]\s")
_WORD_END = re.compile(r"\s+")
# Between brackets and marks like these a sentence goes on, whatever stands before them.
_GOES_ON = frozenset("，,、：:;；。.)）]】》")
_BEFORE_ANYTHING = re.compile(
    r"mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|eg|ie|cf|approx|dept|est|ext|gen|hon|rev|u\.s|u\.k|[a-hj-z]"
)
_BEFORE_A_NUMBER = re.compile("nos?|figs?|vol|pp?|sec|ch|art|tel")
_LIST_NUMBER = re.compile(r"(?:^|.*[。！？；…：）]|.*[!?.:)]\s)[\s(（]*\d{1,3}", re.DOTALL)
# A line of fewer characters than this was not broken for want of room.
_WRAPPED_LINE_CHARS = 50


def is_list_item(line: str) -> bool:
    """Whether a line begins with a bullet or a number of a list."""
    return _ITEM.match(line) is not None


def is_table_row(line: str) -> bool:
    """Whether a line is a row of a table: cells between bars."""
    return " | " in line or line.lstrip().startswith("|")


def split_paragraphs(text: str) -> list[str]:
    """Part a text after its blank lines."""
    return _cut_at(text, [match.end() for match in _PARAGRAPH_END.finditer(text)])


def split_lines(text: str) -> list[str]:
    """Part a text into lines, list items and table rows.

    Lines that only an editor's line width has broken stay together.
    """
    lines: list[str] = _LINE.findall(text)
    cuts = []
    end = 0
    for before, line in pairwise(lines):
        end += len(before)
        if line.strip() and not _goes_on(before, line):
            cuts.append(end)
    return _cut_at(text, cuts)


def split_sentences(text: str) -> list[str]:
    """Part a text into sentences; a list item ends a sentence, a table row stays whole."""
    sentences: list[str] = []
    for line in split_lines(text):
        sentences.extend([line] if is_table_row(line) else _split_line(line))
    return sentences


def split_clauses(text: str) -> list[str]:
    """Part a text after commas, colons and dashes, but not inside numbers."""
    return _cut_at(text, [match.end() for match in _CLAUSE_END.finditer(text)])


def split_words(text: str) -> list[str]:
    """Part a text after white space."""
    return _cut_at(text, [match.end() for match in _WORD_END.finditer(text)])


def _cut_at(text: str, cuts: list[int]) -> list[str]:
    bounds = [0, *(cut for cut in cuts if 0 < cut < len(text)), len(text)]
    return [text[start:end] for start, end in pairwise(bounds) if start < end]


def _goes_on(before: str, line: str) -> bool:
    """Whether `line` continues the sentence of the line `before`."""
    above = before.rstrip()
    if not above or _begins_something(line) or is_table_row(above):
        return False
    if line.startswith(("  ", "\t")):
        return True
    if above[-1] in "。！？；…!?.：:" or _is_cjk(above[-1]) or _is_cjk(line[0]):
        return False
    return line[0].islower() or len(above) >= _WRAPPED_LINE_CHARS


def _begins_something(line: str) -> bool:
    return is_list_item(line) or is_table_row(line) or bool(_HEADING_OR_FENCE.match(line))


def _split_line(line: str) -> list[str]:
    cuts = []
    for match in _SENTENCE_END.finditer(line):
        if _ends_sentence(line, match):
            end = match.end()
            while end < len(line) and line[end].isspace():
                end += 1
            cuts.append(end)
    return _cut_at(line, cuts)


def _ends_sentence(line: str, match: re.Match[str]) -> bool:
    following = line[match.end() : match.end() + 1]
    if not following:
        return True
    if following in _GOES_ON:
        return False
    marks = match.group()
    if any(mark in "。！？；" for mark in marks):
        return True
    if not (following.isspace() or _is_cjk(following)):
        return False
    if any(mark in "!?" for mark in marks):
        return True
    next_word = line[match.end() : match.end() + 40].lstrip()
    if next_word[:1].islower():
        return False
    return marks.startswith(("…", "..")) or _full_stop_ends(line, match.start(), next_word)


def _full_stop_ends(line: str, position: int, next_word: str) -> bool:
    """Whether the full stop at `position` ends a sentence rather than an abbreviation."""
    before = line[max(0, position - 24) : position]
    if _LIST_NUMBER.fullmatch(before):
        return False
    word = (before.split() or [""])[-1].lstrip("\"'“‘([（").lower()
    if _BEFORE_A_NUMBER.fullmatch(word):
        return not next_word[:1].isdigit()
    return not _BEFORE_ANYTHING.fullmatch(word)


def _is_cjk(character: str) -> bool:
    return _CJK_CHARACTER.match(character) is not None
