"""Repairs text that was decoded as what it is not: UTF-8 read as Windows-1252, Latin-1 or GBK."""

from __future__ import annotations

import re

# UTF-8 read one byte a character: a lead byte (C2 to F4), then bytes of 80 to BF, which
# Windows-1252 shows as those characters and Latin-1 as control characters.
_LEAD = "\xc2-\xf4"
_CONTINUED = (
    "\x80-\xbf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
)
#: Where text may be UTF-8 read as Windows-1252 or Latin-1. No sound Chinese text matches.
ONE_BYTE = re.compile(f"[{_LEAD}][{_CONTINUED}]{{1,3}}")
# What full stops, commas and the commonest words become in GBK; sound text has none of them.
_AS_GBK = re.compile("[锛銆鐨鏄鍦鏈鐢鍙绗浠鎴閫璇]")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
# A shorter run may be UTF-8 by chance.
_LEAST_RUN = 4
_MARKS = frozenset("，。！？；：、“”‘’（）《》【】—…·￥％～")


def repair(text: str) -> tuple[str, int]:
    """The text with what is certainly wrong put right, and in how many lines that was."""
    if text.isascii():
        return text, 0
    repaired = [_repair_line(line) for line in text.split("\n")]
    changed = sum(line != before for line, before in zip(repaired, text.split("\n"), strict=True))
    return ("\n".join(repaired), changed) if changed else (text, 0)


def _repair_line(line: str) -> str:
    if ONE_BYTE.search(line):
        import ftfy

        # It changes a text only where what comes out is far likelier, and knows the cases in
        # which bytes were lost on the way.
        line = ftfy.fix_encoding(line)
    if _AS_GBK.search(line):
        line = _NOT_ASCII.sub(_from_gbk, line)
    return line


def _from_gbk(run: re.Match[str]) -> str:
    """UTF-8 whose bytes were read as GBK, if they are UTF-8 from end to end."""
    if len(run[0]) < _LEAST_RUN:
        return run[0]
    try:
        text = run[0].encode("gb18030").decode("utf-8")
    except UnicodeError:
        return run[0]
    return text if _is_chinese(text) else run[0]


def _is_chinese(text: str) -> bool:
    return all("\u4e00" <= character <= "\u9fff" or character in _MARKS for character in text)
