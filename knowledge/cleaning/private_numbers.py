"""Finds private numbers: phones, ID cards, bank cards and accounts, passports.

Every `find_` takes a text that `masking.fold` has folded and the stretches with many digits in
it, and yields the places of what it finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache

from knowledge.cleaning.private_words import Span

_AROUND = 24
_LETTERS = "A-Za-z0-9"
# Nothing of a longer number, of a code ("SF138…", "A-138…") or of an amount ("¥138…", "3.138…").
_BEFORE = rf"(?<![{_LETTERS}_$€£¥￥#])(?<![{_LETTERS}_][-./_=])"
_AFTER = (
    rf"(?![{_LETTERS}_])(?!-[{_LETTERS}])(?!\.\d)(?!,\d{{3}}(?!\d))"
    r"(?!\s?(?:元|万|亿|美元|[件台个人吨股%％]))"
)
# A space, a dash or a dot between groups; one line may end there.
_GAP = r"(?:[ .-]|[ ]?-[ ]?|[ ]?\n[ ]?)"

_OTHER_LABEL = re.compile(
    r"(?:单号|編號|编号|编码|代码|流水号?|序列号|批号|批次|货号|型号|条码|料号|订单|訂單|发票"
    r"|合同|工单"
    r"|运单|备案号?|许可证|信用代码|版本|税号|ISBN|ISSN|EAN|UPC|IMEI|SKU|ASIN|DOI|VIN"
    r"|(?:order|tracking|invoice|serial|part|model|item|batch|ticket|case|reference|transaction"
    r"|product"
    r"|shipment|parcel|confirmation|booking|article|catalog(?:ue)?)\s*(?:number|num|no\.?|id"
    r"|code|#)?"
    r"|ref|S/?N|P/?N)[\s:：.#是为=]{0,3}(?:is )?[A-Za-z]{0,4}$",
    re.IGNORECASE,
)
_SERVICE_LABEL = re.compile(
    r"(?:客服|热线|熱線|售后|售前|服务|服務|咨询|諮詢|预约|订购|订票|订房|举报|投诉|报修|维修"
    r"|总机|前台|值班"
    r"|招商|官方|公司|门店|hotline|helpline|customer (?:service|support|care)|support|service|sales"
    r"|toll[- ]?free|reservations?|front desk|switchboard|emergency)"
    r"(?:中心|专线|电话|手机|号码?|微信|[/ ]|line|desk|team|phone|number|at|on"
    r"|is){0,4}[\s:：是为]{0,3}(?:\+\d{1,3}[ -]?|86[ -]?)?$",
    re.IGNORECASE,
)
_PHONE_LABEL = re.compile(
    r"(?:电话|電話|座机|手机|手機|联系方式|致电|拨打|传真|\b(?:tel|telephone|phone|mobile|cell"
    r"|call|ring|text|fax|whatsapp))"
    r"(?:号码|number|no\.?)?[\s:：.是为()]{0,4}(?:is |at |me |on ){0,2}$",
    re.IGNORECASE,
)


_DIGITS = re.compile(r"\d(?:[ ().\n/~-]{0,3}\d){5,}")
_BEFORE_DIGITS = 12
_AFTER_DIGITS = 24


def find_digits(text: str) -> list[Span]:
    """The stretches of a text in which a private number may stand; they never overlap."""
    stretches: list[Span] = []
    for match in _DIGITS.finditer(text):
        start, end = max(0, match.start() - _BEFORE_DIGITS), match.end() + _AFTER_DIGITS
        if stretches and start < stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return stretches


def _search(pattern: re.Pattern[str], text: str, digits: Sequence[Span]) -> Iterator[re.Match[str]]:
    for start, end in digits:
        yield from pattern.finditer(text, start, end)


def _before(text: str, start: int) -> str:
    return text[max(0, start - _AROUND) : start]


def _is_other(text: str, start: int) -> bool:
    """Whether a label says that the number is an order's, a product's, …"""
    return _OTHER_LABEL.search(_before(text, start)) is not None


def _is_service(text: str, start: int) -> bool:
    return _SERVICE_LABEL.search(_before(text, start)) is not None


def _matches(
    pattern: re.Pattern[str], text: str, digits: Sequence[Span]
) -> Iterator[tuple[int, int, str]]:
    """Places and digits (and letters) of what is not labelled as something else."""
    for match in _search(pattern, text, digits):
        if not _is_other(text, match.start()):
            yield *match.span(), re.sub(r"[\s().-]", "", match[0])


# Identity

_ID_CARD = re.compile(
    rf"{_BEFORE}[1-9]\d{{5}}[ -]?(?:19|20)\d{{2}}[ -]?\d{{4}}[ -]?\d{{3}}[\dXx](?![{_LETTERS}])"
    rf"|{_BEFORE}(?=(?:\d\n?){{17}}[\dXx](?![{_LETTERS}]))[1-9]\d+\n\d+[\dXx]?"
)
_OLD_ID_CARD = re.compile(rf"{_BEFORE}[1-9]\d{{14}}{_AFTER}")
_ID_LABEL = re.compile(
    r"(?:身份证|身分證|证件|ID card|ID (?:number|no)|identity).{0,8}$", re.IGNORECASE
)
_PROVINCES = frozenset(
    (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55),
     *range(61, 66), 71, 81, 82, 83, 91)
)  # fmt: skip
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_TAIWAN_ID = re.compile(rf"{_BEFORE}[A-Z][1289]\d{{8}}{_AFTER}")
_HONG_KONG_ID = re.compile(rf"{_BEFORE}[A-Z]{{1,2}}\d{{6}}\([0-9A]\)")
_TAIWAN_REGIONS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def find_id_cards(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """ID cards of the mainland, Taiwan and Hong Kong by their check digits.

    One that fails the check, or is of the old 15 digits, only beside a label.
    """
    for start, end, number in _matches(_ID_CARD, text, digits):
        if (
            int(number[:2]) in _PROVINCES
            and _is_date(number[6:14])
            and (_id_check(number) or _ID_LABEL.search(_before(text, start)))
        ):
            yield start, end
    yield from _old_id_cards(text, digits)
    for start, end, number in _matches(_TAIWAN_ID, text, digits):
        if _taiwan_check(number):
            yield start, end
    for start, end, number in _matches(_HONG_KONG_ID, text, digits):
        if _hong_kong_check(number):
            yield start, end


def _old_id_cards(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    for start, end, number in _matches(_OLD_ID_CARD, text, digits):
        labelled = _ID_LABEL.search(_before(text, start))
        if labelled and int(number[:2]) in _PROVINCES and _is_date("19" + number[6:12]):
            yield start, end


def _id_check(number: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _is_date(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False


def _taiwan_check(number: str) -> bool:
    region = _TAIWAN_REGIONS.index(number[0]) + 10
    total = region // 10 + region % 10 * 9
    total += sum(
        int(digit) * weight for digit, weight in zip(number[1:9], range(8, 0, -1), strict=True)
    )
    return (total + int(number[9])) % 10 == 0


def _hong_kong_check(number: str) -> bool:
    letters = number[:-7].rjust(2)
    values = [36 if letter == " " else ord(letter) - 55 for letter in letters]
    values += [int(digit) for digit in number[-7:-1]]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return (total + int(number[-1], 16)) % 11 == 0


_PASSPORT = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{1,2}\d{6,8}|E[A-HJ-NP-Z]\d{7}|\d{8,9})(?![A-Za-z0-9])"
)
_PASSPORT_LABEL = re.compile(
    r"(?:护照|護照|通行证|passport)(?:号码?|號碼?| ?number| ?no\.?| ?#)?[\s:：是为]{0,3}(?:is )?$",
    re.IGNORECASE,
)


def find_passports(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """Passport and travel permit numbers, which only a label tells from a part number."""
    for match in _search(_PASSPORT, text, digits):
        if _PASSPORT_LABEL.search(_before(text, match.start())):
            yield match.span()


_US_SSN = re.compile(rf"{_BEFORE}(?!000|666|9)\d{{3}}([- ])(?!00)\d{{2}}\1(?!0000)\d{{4}}{_AFTER}")
_US_SSN_PLAIN = re.compile(rf"{_BEFORE}(?!000|666|9)\d{{9}}{_AFTER}")
_US_SSN_LABEL = re.compile(
    r"(?:SSN|social security)(?: ?(?:number|no\.?|#))?[\s:：]{0,3}(?:is )?$", re.IGNORECASE
)


def find_us_ssns(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """Social security numbers of the United States; spaced by blanks or not at all: labelled."""
    for match in _search(_US_SSN, text, digits):
        labelled = _US_SSN_LABEL.search(_before(text, match.start()))
        if labelled or (match[1] == "-" and not _is_other(text, match.start())):
            yield match.span()
    for match in _search(_US_SSN_PLAIN, text, digits):
        if _US_SSN_LABEL.search(_before(text, match.start())):
            yield match.span()


# Money

_CARD = re.compile(
    rf"{_BEFORE}(?:\d{{4}}(?P<gap>[ -])\d{{4}}(?P=gap)\d{{4}}(?P=gap)\d{{4}}(?:(?P=gap)\d{{1,3}})?"
    rf"|3\d{{3}}[ -]\d{{6}}[ -]\d{{5}}|6\d{{5}}[ -]\d{{10,13}}|\d{{14,19}}"
    rf"|\d{{4,14}}\n\d{{2,14}}){_AFTER}"
)
# Issuer prefixes by length; the ninth digits of old Chinese cards only beside a label.
_CARD_ISSUERS = (
    (re.compile(r"62|81"), range(16, 20)),
    (re.compile(r"4"), range(16, 17)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), range(16, 17)),
    (re.compile(r"3[47]"), range(15, 16)),
    (re.compile(r"6011|65|64[4-9]"), range(16, 17)),
    (re.compile(r"35(?:2[89]|[3-8])"), range(16, 17)),
    (re.compile(r"3(?:0[0-5]|[68])"), range(14, 15)),
)
_CARD_LABEL = re.compile(
    r"(?:银行卡|信用卡|借记卡|储蓄卡|卡号|账号|帐号|賬號|card|account|acct)(?:号码?)?(?: ?"
    r"(?:number|no\.?|#))?"
    r"[\s:：是为]{0,3}(?:is )?$",
    re.IGNORECASE,
)


def find_bank_cards(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """Payment cards by issuer prefix, length and check digit; labelled, any that checks."""
    for start, end, number in _matches(_CARD, text, digits):
        if _luhn(number) and (
            any(prefix.match(number) and len(number) in sizes for prefix, sizes in _CARD_ISSUERS)
            or (len(number) >= 16 and _CARD_LABEL.search(_before(text, start)))
        ):
            yield start, end


def _luhn(number: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return len(set(number)) > 1 and sum(value // 10 + value % 10 for value in doubled) % 10 == 0


_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
)
_IBAN_LENGTHS = {
    "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31,
    "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "TR": 26, "UA": 29,
}  # fmt: skip


def find_ibans(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """Account numbers by ISO 13616: a country's length and the check by 97."""
    for match in _search(_IBAN, text, digits):
        number = match[0].replace(" ", "")
        turned = "".join(str(int(character, 36)) for character in number[4:] + number[:4])
        if len(number) == _IBAN_LENGTHS.get(number[:2]) and int(turned) % 97 == 1:
            yield match.span()


# Phones

_CHINA_MOBILE = re.compile(
    rf"(?<![{_LETTERS}_$€£¥￥#])(?<![A-Za-z_][-./_=])(?<!\d[-._=])(?:(?:\((?:\+|00)?86\)|(?:\+"
    rf"|00)?86)[ -]?)?"
    rf"(?:1[3-9]\d(?:{_GAP}\d{{4}}{_GAP}\d{{4}}|{_GAP}?\d{{8}}|{_GAP}\d{{3}}{_GAP}\d{{5}}"
    rf"|\d{_GAP}\d{{3}}{_GAP}\d{{4}})"
    rf"|(?=1[3-9]\d*\n)(?=[\d\n]{{12}}(?!\d))\d{{3,8}}\n\d{{3,8}}){_AFTER}"
)
_LABELLED_MOBILE = re.compile(
    r"(?:手机|电话|tel|phone|mobile|mob|cell|call|wechat|wx|vx|whatsapp)(?:号码?)?[是为:： .]{0,3}"
    r"(1[ ]?[3-9](?:[ ]?\d){9})(?!\d)",
    re.IGNORECASE,
)
_WORLD = re.compile(
    rf"(?<![{_LETTERS}+])(?:\+|00(?=[1-9]))[1-9](?:[ ().-]{{0,2}}\d){{6,14}}{_AFTER}"
)
_LANDLINE = re.compile(
    rf"{_BEFORE}(?:(?:\+|00)?86[ -]?)?(?:\(0\d{{2,3}}\)[ -]?|0\d{{2,3}}[ ]?[-~/ ][ ]?\n?)\d{{7,8}}"
    rf"(?:[ ]?(?:转|轉|ext\.?|x|-)[ ]?\d{{1,5}})?(?![{_LETTERS}_])"
    rf"|{_BEFORE}(?:\(0\d{{2,3}}\)[ -]?|0\d{{2,3}}[ -])\d{{3,4}}[ -]\d{{4}}(?![{_LETTERS}_-])"
    rf"|{_BEFORE}(?:\+|00)?86[ -]\(?[1-9]\d{{1,2}}\)?[ -]\d{{7,8}}(?![{_LETTERS}_-])"
)
_LABELLED_PHONE = re.compile(
    rf"{_BEFORE}(?:0\d{{9,11}}|[2-8]\d{{6,7}}|[2-8]\d{{3}}[ -]\d{{4}}){_AFTER}"
)
_NATIONAL = (
    (
        "US",
        re.compile(
            rf"{_BEFORE}(?<!\+)(?:1[-. ])?(?:\([2-9]\d{{2}}\)[ -]?"
            rf"|[2-9]\d{{2}}(?P<gap>[-. ]))\d{{3}}(?:(?P=gap)|-)\d{{4}}{_AFTER}"
        ),
    ),
    ("GB", re.compile(rf"{_BEFORE}\(?0[1-37]\d{{1,4}}\)?[ -]\d{{3,4}}[ -]?\d{{3,4}}{_AFTER}")),
    (
        "TW",
        re.compile(
            rf"{_BEFORE}(?:09\d{{2}}[ -]?\d{{3}}[ -]?\d{{3}}"
            rf"|\(?0[2-8]\)?[ -]\d{{3,4}}[ -]\d{{4}}){_AFTER}"
        ),
    ),
)
_AREA = re.compile(r"(?!0[489]00)0(?:10|2[0-57-9]|[3-9]\d\d)")


def find_mobiles(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """Mobile numbers: of the mainland by their form, others where the number plan has them apart.

    One that is labelled as a service's ("客服热线：…") is the company's own.
    """
    for match in _search(_CHINA_MOBILE, text, digits):
        if not _is_other(text, match.start()) and not _is_service(text, match.start()):
            yield match.span()
    for match in _search(_LABELLED_MOBILE, text, digits):
        if not _is_service(text, match.start(1)):
            yield match.span(1)
    yield from _find_by_plan(text, digits, only_mobile=True)


def find_phones(text: str, digits: Sequence[Span]) -> Iterator[Span]:
    """Every number of a person or an office; not those that are free or short, for services."""
    yield from find_mobiles(text, digits)
    for match in _search(_LANDLINE, text, digits):
        area = "0" + re.sub(r"^(?:\+|00)?86[ -]?", "", match[0]).lstrip("(0")
        if (
            _AREA.match(area)
            and not _is_other(text, match.start())
            and not _is_service(text, match.start())
        ):
            yield match.span()
    for match in _search(_LABELLED_PHONE, text, digits):
        start = match.start()
        if _PHONE_LABEL.search(_before(text, start)) and not _is_service(text, start):
            yield match.span()
    yield from _find_by_plan(text, digits, only_mobile=False)


def _find_by_plan(text: str, digits: Sequence[Span], *, only_mobile: bool) -> Iterator[Span]:
    """Numbers that are valid in the number plan of their country."""
    for region, pattern in ((None, _WORLD), *_NATIONAL):
        for match in _search(pattern, text, digits):
            start = match.start()
            if _is_other(text, start) or _is_service(text, start):
                continue
            if _is_person(match[0], region, only_mobile=only_mobile):
                yield match.span()


def _is_person(number: str, region: str | None, *, only_mobile: bool) -> bool:
    kind = _plan_of(number, region)
    return kind == "mobile" or (kind == "other" and not only_mobile)


@lru_cache(maxsize=1024)
def _plan_of(number: str, region: str | None) -> str:
    """Whose a number is: "mobile" and "other" are persons' or offices', "" is nobody's."""
    # Only texts with numbers of such a form pay for it.
    import phonenumbers as plans

    try:
        parsed = plans.parse("+" + number[2:] if number.startswith("00") else number, region)
    except plans.NumberParseException:
        return ""
    if not plans.is_valid_number(parsed):
        return ""
    kind = plans.number_type(parsed)
    kinds = plans.PhoneNumberType
    if kind in (kinds.MOBILE, kinds.PERSONAL_NUMBER, kinds.PAGER):
        return "mobile"
    # Free numbers and those at a common rate are a service's.
    return "other" if kind in (kinds.FIXED_LINE, kinds.FIXED_LINE_OR_MOBILE, kinds.VOIP) else ""
