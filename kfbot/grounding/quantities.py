"""The numbers of a text with their units and bounds, however they are written; zh and en."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache

from kfbot.grounding.vocabulary import bounds, units


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a text, or a range of numbers."""

    start: int
    end: int
    #: One value, or the two ends of a range; a telephone number, a version: its digits.
    values: tuple[Decimal | str, ...]
    #: As `words.toml` calls it; "" where none is named.
    unit: str = ""
    #: "min", "max", "over", "under", "about", …; "" for just so many.
    bound: str = ""

    def says(self, other: Quantity) -> bool:
        """Whether this is the very same statement as another."""
        return (self.values, self.unit, self.bound) == (other.values, other.unit, other.bound)


_DIGITS = "零〇一二三四五六七八九"
_SCALES = {"十": 10, "百": 100, "千": 1000}
_LARGE = {"万": 10**4, "亿": 10**8}
_MULTIPLIERS = {
    **{"百": 100, "千": 1000, "万": 10**4, "亿": 10**8, "万亿": 10**12, "百万": 10**6},
    **{"千万": 10**7, "hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6},
    **{"mn": 10**6, "billion": 10**9, "bn": 10**9, "trillion": 10**12, "dozen": 12},
}
_ONES = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ENGLISH = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        (
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
        ),
        start=1,
    )
}
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]}|\\.)?" for name in _MONTHS if name != "may")
_WORD = "|".join(sorted((*_ENGLISH, "dozen", "hundred", "thousand"), key=len, reverse=True))

_ATOM = re.compile(
    rf"""
    (?P<phone>(?<![\w.])\+?\(?\d{{1,4}}\)?(?:[- ]\d{{2,4}}){{2,4}}(?![\w-])
        |(?<![A-Za-z\d.-])(?:\+?\d{{1,3}}-)?\d{{3,4}}-\d{{3,8}}(?:-\d{{3,4}})?(?![\w-])
        |(?<![A-Za-z\d.])\d{{9,}}(?!\d))
    |(?P<time>(?P<half>上午|早上|凌晨|下午|晚上|晚|中午)?(?<![\d.])(?P<hour>\d{{1,2}})
        (?:[:](?P<minute>\d{{2}})(?::\d{{2}})?(?P<noon>\s?[ap]\.?m\b\.?)?
        |(?P<noon2>\s?[ap]\.?m\b\.?)|[点时](?!\d*分制)(?P<zhmin>半|\d{{1,2}}分)?(?!之)))
    |(?P<version>(?<![A-Za-z\d.])\d+(?:\.\d+){{2,}}(?!\d))
    |(?P<number>(?<![A-Za-z\d.])(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?
        (?P<ordinal>(?:st|nd|rd|th)\b)?(?:\s?(?P<times>百万|千万|万亿|百(?!分)|千(?![克米瓦])|[万亿]
        |(?:hundred|thousand|k|million|mn|billion|bn|trillion|dozen)(?![a-z])))?)
    |(?P<percent>百分之(?P<percentage>[{_DIGITS}两十百点]+|\d+(?:\.\d+)?))
    |(?P<han>(?:第)?[{_DIGITS}两十百千万亿]+(?:点[{_DIGITS}]+)?)
    |(?P<zhhalf>半(?=个?(?:小时|月|年|天|日|价)))
    |(?P<words>(?<![A-Za-z-])(?:an?\s+)?(?:{_WORD})(?:[\s-]+(?:and\s+)?(?:{_WORD}))*(?![A-Za-z]))
    |(?P<enhalf>(?<![A-Za-z-])half(?![A-Za-z]))
    |(?P<place>(?<![A-Za-z-])(?:{"|".join(_ORDINALS)})(?![A-Za-z]))
    |(?P<month>(?<![A-Za-z])(?:{_MONTH}|may(?=\s\d))(?![A-Za-z]))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CURRENCY = re.compile(r"(us\$|hk\$|\$|€|£|¥|usd|eur|gbp|rmb|cny|人民币)\s?$", re.IGNORECASE)
_RANGE = re.compile(r"\s*(?:-|–|—|~|～|to|and|至|到|或|or)\s*", re.IGNORECASE)
_FROM = re.compile(rf"[至到~-][{_DIGITS}两十\d]")
_BETWEEN = re.compile(r"(?:between|from|从|自|在)\s*$", re.IGNORECASE)
_NOT_NUMBERS = re.compile(
    r"十分(?!钟|之)|千万(?!元|人|美|个|吨|年|用|多)|万一|一一|百合|三包|一二三"
)
#: Units without which "一" and "one" are no numbers.
_HARD = frozenset(
    ("workday", "calendarday", "month", "day", "hour", "minute", "second", "week", "year")
) | frozenset(("percent", "dollar", "euro", "yuan", "times", "fold", "century", "decade", "zhe"))
#: What may stand between a number and its bound.
_REACH = 24


@cache
def _unit_pattern() -> re.Pattern[str]:
    spelled = sorted(units(), key=len, reverse=True)
    latin = "|".join(re.escape(one) for one in spelled if one[0].isascii() and one[0].isalpha())
    other = "|".join(
        re.escape(one) for one in spelled if not (one[0].isascii() and one[0].isalpha())
    )
    return re.compile(
        rf"[\s-]?(?:(?<=half\s)an?\s)?(?:(?P<latin>{latin})(?![a-z\d])|(?P<other>{other}))",
        re.IGNORECASE,
    )


def quantities(text: str) -> list[Quantity]:
    """The numbers of a folded text, in order.

    Ranges are one quantity. "一" and "one" count only before a unit of time or money.
    """
    skipped = [match.span() for match in _NOT_NUMBERS.finditer(text)]
    atoms = []
    end = 0
    for match in _ATOM.finditer(text):
        inside = any(start <= match.start() < stop for start, stop in skipped)
        if match.start() < end or inside:
            continue
        if (found := _quantity(match, text)) is not None:
            atoms.append(found)
            end = found.end
    return [_bounded(one, text) for one in _ranges(atoms, text)]


def _quantity(match: re.Match[str], text: str) -> Quantity | None:
    span = match.span()
    for kind in ("phone", "version"):
        if match[kind] is not None:
            return Quantity(*span, (re.sub(r"[^\d.]", "", match[0]),), kind)
    if match["time"] is not None:
        return Quantity(*span, (_clock(match),), "clock")
    if match["month"] is not None:
        return Quantity(*span, (Decimal(_month(match["month"])),), "month#")
    if match["place"] is not None:
        return Quantity(*span, (Decimal(_ORDINALS[match["place"].lower()]),), "ordinal")
    if match["percent"] is not None:
        return Quantity(*span, (_chinese(match["percentage"]),), "percent")
    return _measured(match, text)


def _measured(match: re.Match[str], text: str) -> Quantity | None:
    """A number before a unit, or without one."""
    start, end = match.span()
    value = _value(match)
    if value is None:
        return None
    if match["ordinal"] or text[max(0, start - 1) : start + 1].startswith("第"):
        return Quantity(start, end, (value,), "ordinal")
    if match["zhhalf"] and text[end : end + 1] == "价":
        return Quantity(start, end + 1, (Decimal(5),), "zhe")
    unit = ""
    if (sign := _CURRENCY.search(text, max(0, start - 4), start)) is not None:
        unit, start = units().get(sign[1].lower(), "yuan"), sign.start()
    elif (named := _unit_pattern().match(text, end)) is not None:
        unit, end = units()[(named["latin"] or named["other"]).lower()], named.end()
    unit = _dated(unit, value, match[0], text[: match.start()])
    if unit not in _HARD and _is_a_word(match, value, unit, text):
        return None
    return Quantity(start, end, (value,), unit)


def _dated(unit: str, value: Decimal, written: str, before: str) -> str:
    """The unit, or the part of a date that it is."""
    if unit == "year" and value >= 1000:
        return "year#"
    if unit == "" and re.fullmatch(r"1\d{3}|20\d{2}", written):
        return "year#"
    return "day#" if unit == "day" and re.search(r"月(?:份)?$", before) else unit


def _is_a_word(match: re.Match[str], value: Decimal, unit: str, text: str) -> bool:
    """Whether a numeral counts nothing: 一个办法, one of them."""
    if match["words"]:
        return value == 1
    lone = unit == "" and len(match["han"] or "") == 1 and not _FROM.match(text, match.end())
    return bool(match["han"]) and (value == 1 or lone)


def _value(match: re.Match[str]) -> Decimal | None:
    if match["number"] is not None:
        digits = re.match(r"[\d,.]*\d", match["number"])
        value = Decimal((digits[0] if digits else "0").replace(",", ""))
        return (value * _MULTIPLIERS.get((match["times"] or "").lower(), 1)).normalize()
    if match["han"] is not None:
        return _chinese(match["han"].removeprefix("第"))
    if match["zhhalf"] or match["enhalf"]:
        return Decimal("0.5")
    return _english(match["words"])


def _english(words: str) -> Decimal | None:
    total = current = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word in _ENGLISH:
            current += _ENGLISH[word]
        elif word in ("dozen", "hundred"):
            current = max(current, 1) * _MULTIPLIERS[word]
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
    return Decimal(total + current).normalize()


def _chinese(written: str) -> Decimal:
    """三百二十, 二〇二四, 两万五千, 三点五."""
    if re.fullmatch(r"\d+(?:\.\d+)?", written):
        return Decimal(written).normalize()
    whole, _, fraction = written.replace("两", "二").partition("点")
    after = "".join(str(max(_DIGITS.index(one) - 1, 0)) for one in fraction)
    if not any(one in _SCALES or one in _LARGE for one in whole):
        plain = "".join(str(max(_DIGITS.index(one) - 1, 0)) for one in whole) or "0"
        return Decimal(f"{plain}.{after or 0}").normalize()
    total = section = digit = 0
    for one in whole:
        if one in _LARGE:
            total, section, digit = (total + section + digit or 1) * _LARGE[one], 0, 0
        elif one in _SCALES:
            section, digit = section + (digit or 1) * _SCALES[one], 0
        else:
            digit = max(_DIGITS.index(one) - 1, 0)
    return Decimal(f"{total + section + digit}.{after or 0}").normalize()


def _clock(match: re.Match[str]) -> str:
    hour = int(match["hour"])
    noon = (match["noon"] or match["noon2"] or "").strip().lower()
    late = noon.startswith("p") or match["half"] in ("下午", "晚上", "晚")
    if late and hour < 12:
        hour += 12
    if noon.startswith("a") and hour == 12:
        hour = 0
    minutes = (match["zhmin"] or "").replace("半", "30").removesuffix("分")
    return f"{hour}:{int(match['minute'] or minutes or 0):02}"


def _month(name: str) -> int:
    return next(at for at, one in enumerate(_MONTHS, 1) if one.startswith(name[:3].lower()))


def _ranges(atoms: list[Quantity], text: str) -> list[Quantity]:
    """Two numbers with a dash between them as one."""
    found: list[Quantity] = []
    for one in atoms:
        before = found[-1] if found else None
        if before is not None and _is_date(before, one, text):
            found[-1] = replace(before, end=one.end, values=before.values + one.values, unit="date")
        elif before is not None and len(before.values) == 1 and _is_range(before, one, text):
            found[-1] = replace(before, end=one.end, values=before.values + one.values)
            found[-1] = replace(found[-1], unit=one.unit or before.unit)
        else:
            found.append(one)
    return found


def _is_date(one: Quantity, other: Quantity, text: str) -> bool:
    """Whether two numbers are parts of one date: 2024年5月, 5 January, January 5, 2024."""
    between = text[one.end : other.start]
    calendar = {"month#", "day#", "year#", "date"}
    if "month#" not in (one.unit, other.unit) and one.unit != "date":
        return False
    if between == "":
        return {one.unit, other.unit} <= calendar
    either = calendar | {"", "ordinal"}
    return re.fullmatch(r",?\s(?:of\s)?", between) is not None and {one.unit, other.unit} <= either


def _is_range(one: Quantity, other: Quantity, text: str) -> bool:
    between = text[one.end : other.start]
    if _RANGE.fullmatch(between) is None or one.unit not in ("", other.unit, "year#"):
        return one.unit == "" and between == ""
    listed = between.strip().lower() in ("and", "or", "或")
    return not listed or _BETWEEN.search(text[: one.start]) is not None


def _bounded(one: Quantity, text: str) -> Quantity:
    """With its bound, the words of which belong to it."""
    before, after = text[max(0, one.start - _REACH) : one.start], text[one.end : one.end + _REACH]
    article = re.search(r"(?:\bthe|\ba|在)\s*$", before, re.IGNORECASE)
    before = before[: article.start()] if article else before
    for name, pattern in bounds("before"):
        if (match := pattern.search(before)) is not None:
            return replace(one, bound=name, start=max(0, one.start - _REACH) + match.start())
    for name, pattern in bounds("after"):
        if (match := pattern.search(after)) is not None:
            return replace(one, bound=name, end=one.end + match.end())
    return one
