"""Makes bad input of good: what a hostile or broken sender does to a recorded payload.

The same mutations serve hypothesis and atheris: `pick(n)` chooses a number below n.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Pick = Callable[[int], int]

_DEEP = 3_000
#: Written into JSON as they stand, where json.dumps would refuse, or repair, them.
_RAW = {
    "@raw-huge-number@": "1" + "0" * 5_000,
    "@raw-huge-float@": "1e999",
    "@raw-nan@": "NaN",
    "@raw-minus-infinity@": "-Infinity",
    "@raw-deep-lists@": "[" * _DEEP + "]" * _DEEP,
    "@raw-deep-maps@": '{"a":' * _DEEP + "1" + "}" * _DEEP,
    "@raw-open-lists@": "[" * _DEEP,
    "@raw-duplicate@": '{"id": 1, "id": {"id": [2]}}',
}
#: Values that parsers trip over.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**20, 1e300, 253402300800,
    *_RAW,
    "", " ", "0", "-1", "007", "1e400", "nan", "²", "٣", "１２", "9" * 5_000, "1.5.7", "1767603600",
    "\0", "a\0b", "\ud83d", "\udc00x", "\u202e", "\ufeff", "\r\nx: y", "a\u2028b", "长" * 300,
    "x" * 300, "../../etc/passwd", "javascript:alert(1)", "http://[", "https://a.example/\0",
    "@everyone", "<!channel>", "<at id=all></at>", "[CQ:at,qq=all]", "%s{0}{{x}}${y}", "/kb ",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-45", "2026-02-30T25:61:61Z",
    [], {}, [[]], [None], [0], {"": None}, [{}], {"id": None}, "[]", "{}", '{"text": 7}', "null",
)  # fmt: skip
#: Written into texts that are no JSON: XML, forms, Markdown, tables.
_PIECES = (
    "\0", "\ufffd", "<", ">", "&", "]]>", "<![CDATA[", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;",
    "&#0;", "&#xD800;", "</xml>", "<a>" * 500, "%00", "%ff", "%", "=", "&&", ";", "\r\n", "\n\n",
    '"', "'", "\\", "`" * 40, "*" * 40, "_" * 40, "[" * 40, "(" * 40, "|" * 40, "#" * 10, "> " * 40,
    "- " * 40, "\t" * 20, "~" * 40, "---\n", "$$", "```", "![a](", "<!--", "-->", "</script>",
    "1" * 400, "长" * 400, "。" * 400, "\u202e", "{{", "}}", "{", "}",
)  # fmt: skip


def mutated_json(text: str, pick: Pick, most: int = 4) -> str:
    """JSON that was good, with up to `most` faults: parts dropped, swapped, replaced, nested."""
    root = {"": json.loads(text)}
    for _ in range(1 + pick(most)):
        places = list(_places(root))
        _change(places, pick)
    written = json.dumps(root.get(""))
    for name, raw in _RAW.items():
        written = written.replace(json.dumps(name), raw)
    return mutated_text(written, pick, 1) if pick(12) == 0 else written


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(items):
        yield value, key
        if isinstance(one, dict | list):
            yield from _places(one)


def _change(places: list[tuple[Any, Any]], pick: Pick) -> None:
    if not places:
        return
    holder, key = places[pick(len(places))]
    kind = pick(8)
    if kind == 0 and len(places) > 1:
        del holder[key]
    elif kind == 1:
        other, place = places[pick(len(places))]
        # A copy: a value inside of itself is no JSON.
        holder[key] = deepcopy(other[place])
    elif kind == 2:
        holder[key] = [holder[key]]
    elif kind == 3:
        holder[key] = json.dumps(holder[key])
    elif kind == 4:
        holder[key] = str(holder[key])
    else:
        # A copy: what is put in may itself be changed next.
        holder[key] = deepcopy(HOSTILE[pick(len(HOSTILE))])


def mutated_text(text: str, pick: Pick, most: int = 4) -> str:
    """A text with up to `most` cuts, insertions, repeats and swaps."""
    for _ in range(1 + pick(most)):
        start = pick(len(text) + 1)
        end = min(len(text), start + pick(40))
        kind = pick(4)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:end] + text[start:end] * 50 + text[end:]
        elif kind == 2:
            text = text[start:] + text[:start]
        else:
            text = text[:start] + _PIECES[pick(len(_PIECES))] + text[end:]
    return text


def mutated_bytes(content: bytes, pick: Pick, most: int = 6) -> bytes:
    """A file with up to `most` bytes changed, stretches cut out, repeated or moved."""
    for _ in range(1 + pick(most)):
        start = pick(len(content) + 1)
        end = min(len(content), start + 1 + pick(64))
        kind = pick(5)
        if kind == 0:
            content = content[:start] + content[end:]
        elif kind == 1:
            content = content[:end] + content[start:end] * 20 + content[end:]
        elif kind == 2:
            content = content[:start]
        elif kind == 3:
            content = content[:start] + bytes([pick(256)]) * (end - start) + content[end:]
        else:
            content = content[:start] + bytes([pick(256)]) + content[start + 1 :]
    return content
