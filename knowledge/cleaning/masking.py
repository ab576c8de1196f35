"""Masks private data before anything is stored: [电话] for a number, [email] for an address.

Rules and check digits, no model: each kind is found where its form leaves little doubt, or
where a label beside it says what it is. Every rule looks at a bounded stretch of text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from kfbot.knowledge_settings import PrivateKinds
from kfbot.language import language_of
from knowledge.cleaning import private_numbers as numbers
from knowledge.cleaning import private_words as words
from knowledge.cleaning.private_words import Span
from knowledge.cleaning.texts import change_texts
from knowledge.documents import Document

_NUMBER_FINDERS: Mapping[str, Callable[[str, Sequence[Span]], Iterator[Span]]] = {
    "id_card": numbers.find_id_cards,
    "iban": numbers.find_ibans,
    "bank_card": numbers.find_bank_cards,
    "us_ssn": numbers.find_us_ssns,
    "passport": numbers.find_passports,
    "mobile": numbers.find_mobiles,
    "phone": numbers.find_phones,
}
_WORD_FINDERS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "ip": words.find_ip_addresses,
    "plate": words.find_plates,
    "address": words.find_addresses,
    "name": words.find_names,
}
#: What can be masked.
KINDS = frozenset({"email", *_NUMBER_FINDERS, *_WORD_FINDERS})
#: What no company publishes of its own accord, and leaks of which do harm.
DEFAULT = frozenset({"id_card", "bank_card", "us_ssn", "passport", "mobile"})

_MARKS = {
    "email": ("[邮箱]", "[email]"),
    "id_card": ("[身份证号]", "[ID number]"),
    "iban": ("[银行账号]", "[bank account]"),
    "bank_card": ("[银行卡号]", "[card number]"),
    "us_ssn": ("[社会安全号]", "[social security number]"),
    "passport": ("[护照号]", "[passport number]"),
    "mobile": ("[手机号]", "[mobile]"),
    "phone": ("[电话]", "[phone]"),
    "ip": ("[IP 地址]", "[IP address]"),
    "plate": ("[车牌号]", "[licence plate]"),
    "address": ("[地址]", "[address]"),
    "name": ("[姓名]", "[name]"),
}

# One character for one, so that what is found stands at the same place in the text.
_FOLDED = {
    code: folded
    for code in [*range(0xFF01, 0xFF5F), 0x3000, 0xA0, *range(0x2010, 0x2016), 0x2212, 0x202F]
    for folded in [
        "-"
        if code in range(0x2010, 0x2016) or code == 0x2212
        else unicodedata.normalize("NFKC", chr(code))
    ]
}
_SPOKEN = dict(
    zip("〇零一二三四五六七八九幺壹贰叁肆伍陆柒捌玖", "001234567891123456789", strict=True)
)
_SPOKEN_NUMBER = re.compile(
    f"(?<![{''.join(_SPOKEN)}])[{''.join(_SPOKEN)}]{{11,18}}(?![{''.join(_SPOKEN)}])"
)
_LEAST_KEPT_CHARS = 4
_EXTENSION = re.compile(r"(?:转|轉|ext\.?|x)\d{1,5}$")


def mask(
    document: Document, kinds: frozenset[str], keep: Sequence[str] = ()
) -> tuple[Document, Counter[str]]:
    """The document with private data of these kinds replaced by marks, and how often, by kind.

    Ids, addresses on the web and paths stay. Service numbers, published as such, always stay.

    Args:
        document: Its texts and the values of its metadata are searched.
        kinds: Of `KINDS`; unknown ones find nothing.
        keep: What stays though it is of these kinds, however it is spaced: "400-123-4567",
            "*@example.com", "北京市朝阳区建国路88号".
    """
    counts: Counter[str] = Counter()
    kept = [pattern for text in keep if (pattern := _normal(text))]

    def change(text: str) -> str:
        return _mask_text(text, kinds, kept, counts)

    return change_texts(document, change), counts


def mask_texts(texts: Sequence[str], kinds: PrivateKinds | None = None) -> tuple[str, ...]:
    """The texts with private data of these kinds, or of every kind, replaced by marks."""
    chosen = KINDS if kinds is None else kinds
    wanted = DEFAULT if chosen == "default" else frozenset(chosen)
    return tuple(_mask_text(text, wanted, (), Counter()) for text in texts)


def find_private(text: str, kinds: frozenset[str]) -> list[tuple[int, int, str]]:
    """Where private data of these kinds begins and ends, with its kind, in order."""
    folded = fold(text)
    found: list[tuple[int, int, str]] = []
    taken = bytearray(len(text))
    for kind, spans in _search(folded, kinds):
        for start, end in spans:
            # What an earlier kind has taken is of that kind.
            if not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                found.append((start, end, kind))
    return sorted(found)


def _search(folded: str, kinds: frozenset[str]) -> Iterator[tuple[str, Iterator[Span]]]:
    """What each kind finds; the likelier kind of two that find the same comes first."""
    if "email" in kinds:
        yield "email", words.find_emails(folded)
    if digits := numbers.find_digits(folded):
        for kind, find in _NUMBER_FINDERS.items():
            if kind in kinds:
                yield kind, find(folded, digits)
    for kind, find_words in _WORD_FINDERS.items():
        if kind in kinds:
            yield kind, find_words(folded)


def _mask_text(text: str, kinds: frozenset[str], keep: Sequence[str], counts: Counter[str]) -> str:
    found = [
        (start, end, kind)
        for start, end, kind in find_private(text, kinds)
        if not _is_kept(text[start:end], keep)
    ]
    if not found:
        return text
    counts.update(kind for _, _, kind in found)
    language = language_of(text) == "en"
    parts, at = [], 0
    for start, end, kind in found:
        parts += [text[at:start], _MARKS[kind][language]]
        at = end
    return "".join(parts) + text[at:]


def fold(text: str) -> str:
    """The text with full-width forms, dashes and spelled-out numbers as ASCII, of one length."""
    if text.isascii():
        return text
    folded = text.translate(_FOLDED)
    return _SPOKEN_NUMBER.sub(
        lambda match: "".join(_SPOKEN[character] for character in match[0]), folded
    )


def _is_kept(found: str, keep: Sequence[str]) -> bool:
    if not keep:
        return False
    normal = _normal(found)
    return any(
        fnmatchcase(normal, pattern)
        or (len(pattern) >= _LEAST_KEPT_CHARS and not pattern[0].isdigit() and pattern in normal)
        for pattern in keep
    )


def _normal(text: str) -> str:
    """For comparison: small letters, no spaces; of a number its digits, without country code."""
    normal = re.sub(r"\s+", "", fold(text)).lower()
    number = _EXTENSION.sub("", normal)
    if re.fullmatch(r"[+\d()./*?-]+", number):
        digits = re.sub(r"[^\d*?]", "", number)
        return re.sub(r"^(?:00)?86(?=\d{10,})", "", digits)
    # Square brackets would be a pattern's.
    return normal.replace("[", "(").replace("]", ")")
