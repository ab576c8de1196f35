"""What a document says of itself before its text: YAML front matter, and names for its facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from knowledge.cleaning import clean

#: The names by which filters know a fact, and what people call it.
_NAMES = {
    "title": ("标题", "標題", "题名"),
    "url": ("link", "canonical", "链接", "網址", "网址", "連結"),
    "product": ("products", "产品", "產品", "商品", "产品名称"),
    "version": ("版本", "版本号", "版本號"),
    "date": (
        *("updated", "last_updated", "lastmod", "last_modified", "last-modified", "modified"),
        *("modified_time", "published_time"),
        *("日期", "更新日期", "更新时间", "更新時間", "发布日期", "發佈日期", "修改日期"),
    ),
    "language": ("lang", "locale", "语言", "語言"),
    "tags": ("tag", "keywords", "keyword", "标签", "標籤", "关键词", "关键字"),
    "category": ("categories", "分类", "分類", "类别", "類別", "类目"),
}
#: The names that filters know best.
FACTS = frozenset(_NAMES)
_CANONICAL = {alias: name for name, aliases in _NAMES.items() for alias in (name, *aliases)}
_LONGEST_NAME = 40
_LONGEST_VALUE = 200
_MOST_FACTS = 50

_FRONT_MATTER = re.compile(
    r"\A\s*---[^\S\n]*\n(.{0,16384}?)^(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_DATE = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T\s]+(\d{1,2}:\d{2}(?::\d{2})?)\S*)?"
)


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """What the YAML between "---" lines at the top says, and the text below it.

    Front matter that is broken, or longer than 16 KB, is text.
    """
    match = _FRONT_MATTER.match(text)
    values = _load(match[1]) if match else None
    # Two rules with text between them look the same.
    if match is None or values is None:
        return {}, text
    return name_facts(values), text[match.end() :]


def name_facts(values: Mapping[Any, object]) -> dict[str, str]:
    """The short facts among `values` under the names that filters ask for, as one line of text.

    Dates become ISO 8601, lists are joined by ", "; what is nested deeper, or long, is left out.
    """
    facts: dict[str, str] = {}
    for key, value in values.items():
        name = fact_name(str(key))
        text = _flat(value)
        if name == "date":
            text = iso_date(text)
        if 0 < len(name) <= _LONGEST_NAME and 0 < len(text) <= _LONGEST_VALUE:
            facts.setdefault(name, text)
        if len(facts) == _MOST_FACTS:
            break
    return facts


def fact_name(text: str) -> str:
    """The name of a fact in small letters, the one that filters ask for where it has several."""
    name = " ".join(clean(text).split()).lower()
    return _CANONICAL.get(name, name)


def iso_date(text: str) -> str:
    """A date with the year first as ISO 8601, without its time; any other text as it is."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return text
    year, month, day = (int(part) for part in match.groups()[:3])
    return f"{year:04}-{month:02}-{day:02}"


def _flat(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(text for item in value if (text := _line(item)))
    return _line(value)


def _line(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value)
    return " ".join(clean(text).split()) if len(text) <= _LONGEST_VALUE else ""


def _load(block: str) -> Mapping[Any, object] | None:
    import yaml

    try:
        # BaseLoader makes texts, lists and maps only, and leaves "1.10" and "no" as they stand.
        values = yaml.load(block, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    if values is None or values == "":
        return {}
    return values if isinstance(values, dict) else None
