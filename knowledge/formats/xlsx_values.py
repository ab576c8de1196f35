"""Cells of Excel as they are shown: numbers in their formats, dates in ISO 8601."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from knowledge.formats.office import attribute, child, elements

# ECMA-376, part 1, 18.8.30: formats that no file spells out, those of East Asia included.
_BUILT_IN = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 55), 57, 58), "yyyy-mm-dd"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 45, 46, 47, 55, 56), "h:mm"),
    22: "yyyy-mm-dd h:mm",
    **{1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%"},
    **{37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00"},
}
_LITERALS = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_QUOTED = re.compile(r'"([^"]*)"|\\(.)')
_CURRENCY = re.compile(r"\[\$([^\]-]*)(?:-[^\]]*)?\]")
_DATE = re.compile("[yd年日]", re.IGNORECASE)
_TIME = re.compile("[hs时]|am/pm", re.IGNORECASE)
_DIGITS = re.compile(r"[#0?,]*[#0?](?:\.([#0?]*))?")
_SHOWN_DIGITS = 15
_LARGEST_EXPONENT = 300
_CONTEXT = Context(prec=2 * _LARGEST_EXPONENT)


class Formats:
    """The number formats of a workbook, by the style of a cell."""

    def __init__(self, styles: Any, *, since_1904: bool) -> None:
        custom = {
            attribute(one, "numFmtId"): attribute(one, "formatCode")
            for one in elements(child(styles, "numFmts"))
        }
        self._codes = []
        for style in elements(child(styles, "cellXfs")):
            number = attribute(style, "numFmtId") or "0"
            built_in = _BUILT_IN.get(int(number), "") if number.isdecimal() else ""
            self._codes.append(custom.get(number) or built_in)
        self._epoch = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30)  # noqa: DTZ001

    def shown(self, value: str, style: str) -> str:
        """A number as its format shows it: "12.5%", "1,200.00", "2024-05-01"."""
        number = int(style) if style.isdecimal() else 0
        code = self._codes[number] if number < len(self._codes) else ""
        if code in ("", "General") and value.isdecimal() and len(value) <= _SHOWN_DIGITS:
            return value
        try:
            amount = Decimal(value)
        except InvalidOperation:
            return value
        if not amount.is_finite() or abs(amount.adjusted()) > _LARGEST_EXPONENT:
            return value
        # [h]:mm counts on after a day; other brackets hold colours and conditions.
        bare = _LITERALS.sub("", re.sub(r"\[([hms])+\]", r"\1", code.split(";")[0]))
        if _DATE.search(bare) or _TIME.search(bare):
            return self._moment(amount, bare) or _plain(amount)
        return _formatted(amount, code)

    def _moment(self, days: Decimal, code: str) -> str:
        try:
            moment = self._epoch + timedelta(seconds=round(float(days) * 86400))
        except OverflowError:
            return ""
        if days < 0:
            return ""
        time = moment.strftime("%H:%M:%S" if moment.second else "%H:%M")
        if not _DATE.search(code):
            return time if days < 1 else f"{int(days * 24)}:{moment:%M}"
        return f"{moment:%Y-%m-%d} {time}" if _TIME.search(code) else f"{moment:%Y-%m-%d}"


def _plain(amount: Decimal) -> str:
    """A number without format: what a float's last digits add is not shown."""
    if not amount:
        return "0"
    rounded = round(amount, _SHOWN_DIGITS - 1 - amount.adjusted())
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _formatted(amount: Decimal, code: str) -> str:
    parts = code.split(";")
    own_minus = amount < 0 and len(parts) > 1 and "-" in _LITERALS.sub("", parts[1])
    part = parts[1] if own_minus else parts[0]
    part = _CURRENCY.sub(r'"\1"', part)
    bare = _LITERALS.sub("", part)
    match = _DIGITS.search(bare)
    if match is None or "E" in bare or "/" in bare:
        return _plain(amount)
    if "%" in bare:
        amount *= 100
    decimals = len(match[1] or "")
    grouped = "," if re.search(r"[#0?],[#0?]", match[0]) else ""
    width = match[0].partition(".")[0].count("0") + (decimals + 1 if decimals else 0)
    amount = amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _CONTEXT)
    minus = "-" if amount < 0 and not own_minus else ""
    digits = f"{abs(amount):{grouped}f}"
    digits = digits if grouped else digits.rjust(width, "0")
    if "#" in (match[1] or ""):
        digits = digits.rstrip("0").rstrip(".")
    return minus + _around(part, digits)


def _around(part: str, digits: str) -> str:
    """What a format writes before and after the digits: currency, unit, per cent."""
    spots = re.sub(r"_.|\*.|\[[^\]]*\]", "", part)
    start = re.search(r"[#0?]", re.sub(r'"[^"]*"|\\.', lambda quoted: " " * len(quoted[0]), spots))
    ends = [place for place, letter in enumerate(spots) if letter in "#0?"]
    if start is None or not ends:
        return digits
    before, after = spots[: start.start()], spots[ends[-1] + 1 :]

    def unquote(text: str) -> str:
        return _QUOTED.sub(lambda match: match[1] or match[2] or "", text)

    return unquote(before).strip("()") + digits + unquote(after).strip("(),")
