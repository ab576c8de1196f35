"""The regular expressions of this repository, and texts made to keep each of them busy."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

with warnings.catch_warnings():
    # The parse tree of a pattern has no public name: re._parser, once sre_parse.
    warnings.simplefilter("ignore", DeprecationWarning)
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]

_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
ROOMS = ("adapters", "kfbot", "knowledge")
_CALLS = ("search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn")
_EVERYWHERE = frozenset(("search", "finditer"))
#: A run of fewer repeats cannot take long, however it is tried.
_MANY = 12
#: What may stand behind a run so that the rest of a pattern fails, or goes on.
ENDS = ("\0", "!", "", "\n", " ", "。")


class Known(NamedTuple):
    """A pattern, the first place where it stands, and what it is used for: match, search, …."""

    pattern: re.Pattern[Any]
    place: str
    uses: frozenset[str]


def modules() -> Iterator[ModuleType]:
    """Every module of the three rooms that this machine can import."""
    for room in ROOMS:
        package = importlib.import_module(room)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def known_patterns() -> dict[tuple[str | bytes, int], Known]:
    """All patterns: those in modules' globals, those that functions make, and the literal ones."""
    found: dict[tuple[str | bytes, int], Known] = {}
    for module in modules():
        for place, pattern, uses in _in_module(module):
            key = pattern.pattern, pattern.flags
            known = found.setdefault(key, Known(pattern, place, uses))
            found[key] = known._replace(uses=known.uses | uses)
    return found


def run(pattern: re.Pattern[Any], use: str, text: Any) -> None:
    """Use a pattern to the end of a text."""
    if use in ("match", "fullmatch", "search"):
        getattr(pattern, use)(text)
    else:
        for _ in pattern.finditer(text):
            pass


def _in_module(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any], frozenset[str]]]:
    tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
    for name, value in list(vars(module).items()):
        made = value() if _makes_patterns(value, module) else value
        # What is in a list, or made by a function, is used under another name.
        uses = _uses(tree, name) if isinstance(made, re.Pattern) and made is value else _EVERYWHERE
        for pattern in _in_value(made, depth=4):
            yield f"{module.__name__}.{name}", pattern, uses
    for node in ast.walk(tree):
        for use, pattern in _in_call(node):
            yield f"{module.__name__}:{node.lineno}", pattern, frozenset((use,))  # type: ignore[attr-defined]


def _uses(tree: ast.Module, name: str) -> frozenset[str]:
    """The methods of a pattern that a module calls; all, if it only passes it on."""
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    called = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    ]
    read = [node for node in named if isinstance(node.ctx, ast.Load)]
    is_passed_on = len(read) > len(called) or not called
    return _EVERYWHERE if is_passed_on else frozenset(called) & set(_CALLS) or _EVERYWHERE


def _makes_patterns(value: Any, module: ModuleType) -> bool:
    """Whether a value is a function of ours without arguments that returns patterns."""
    function = getattr(value, "__wrapped__", value)
    if not isinstance(function, FunctionType) or function.__module__ != module.__name__:
        return False
    is_simple = function.__code__.co_argcount + function.__code__.co_kwonlyargcount == 0
    return is_simple and "Pattern" in str(function.__annotations__.get("return", ""))


def _in_value(value: Any, depth: int) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, Mapping):
        for one in (*value.keys(), *value.values()):
            yield from _in_value(one, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _in_value(one, depth - 1)


def _in_call(node: ast.AST) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Use and pattern of a call like re.sub(r"…", …), if it is written out there."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    if not isinstance(node.func.value, ast.Name) or node.func.value.id != "re":
        return
    if node.func.attr not in _CALLS or not node.args:
        return
    text = node.args[0]
    if isinstance(text, ast.Constant) and isinstance(text.value, str | bytes):
        yield node.func.attr, re.compile(text.value, _flags(node))


def _flags(call: ast.Call) -> int:
    flags = 0
    for argument in (*call.args[1:], *(word.value for word in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                flag = getattr(re, node.attr, 0) if node.value.id == "re" else 0
                flags |= flag if isinstance(flag, re.RegexFlag) else 0
    return int(flags)


# Texts


class Attack(NamedTuple):
    """A kind of text that keeps a pattern busy: what leads there, what is repeated, an end."""

    start: str
    unit: str
    end: str

    def text(self, length: int) -> str:
        """The text of about so many characters."""
        return self.start + (self.unit * (length // len(self.unit) + 1))[:length] + self.end


def attacks(pattern: re.Pattern[Any], ends: Sequence[str] = ENDS) -> Iterator[Attack]:
    """Kinds of texts that are made of what the pattern's own repeats take."""
    source = pattern.pattern
    source = source.decode("latin-1") if isinstance(source, bytes) else source
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    tree = parser.parse(source, int(flags))
    made = (
        Attack(start, unit, end)
        for lead, unit in _runs(list(tree), "")
        for end in ends
        for start in (lead, "")
    )
    yield from dict.fromkeys(made)


def _runs(tree: list[Any], lead: str) -> Iterator[tuple[str, str]]:
    """Each long repeat of a pattern: a text that leads to it, and what one round of it takes.

    Besides, two neighbours taken in turn, and a lead repeated: what begins a match, again and
    again, without ever ending it.
    """
    for code, given in tree:
        for branch in _inside(code, given):
            yield from _runs(branch, lead)
        for unit in _rounds(code, given):
            yield lead, unit
            if lead:
                yield "", lead + unit * 3
        lead = (lead + next(iter(_samples([(code, given)])), ""))[-200:]
    if lead:
        yield "", lead


def _rounds(code: Any, given: Any) -> list[str]:
    """What one round of a long repeat takes; nothing for other nodes."""
    if code not in _REPEATS or given[1] <= _MANY:
        return []
    return [unit for unit in dict.fromkeys(_samples(list(given[2]))) if unit]


def _inside(code: Any, given: Any) -> list[list[Any]]:
    """The patterns inside of a node."""
    if code in _REPEATS:
        return [list(given[2])]
    if code is codes.SUBPATTERN:
        return [list(given[3])]
    if code is codes.ATOMIC_GROUP:
        return [list(given)]
    if code is codes.BRANCH:
        return [list(one) for one in given[1]]
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [list(given[1])]
    if code is codes.GROUPREF_EXISTS:
        return [list(one) for one in given[1:] if one is not None]
    return []


def _samples(tree: list[Any]) -> list[str]:
    """A few texts that a sequence takes; not all of them do where it looks around itself."""
    texts = [""]
    for code, given in tree:
        texts = [text + one for text in texts for one in _sample(code, given)][:8]
    return texts


def _sample(code: Any, given: Any) -> list[str]:
    if code is codes.LITERAL:
        return [chr(given)]
    if code is codes.NOT_LITERAL:
        return [_other_than({given})]
    if code is codes.ANY:
        return ["a", " "]
    if code is codes.IN:
        return _of_set(given)
    if code in _REPEATS:
        least, most, body = given
        rounds = max(least, 1) if most else 0
        return [one * min(rounds, 50) for one in _samples(list(body))][:4]
    if code is codes.BRANCH:
        return [text for branch in given[1] for text in _samples(list(branch))[:2]][:6]
    if code in (codes.SUBPATTERN, codes.ATOMIC_GROUP, codes.GROUPREF_EXISTS):
        return [text for branch in _inside(code, given)[:1] for text in _samples(branch)][:4]
    return [""]


_CATEGORIES = {
    codes.CATEGORY_DIGIT: "7",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_WORD: "-",
}


def _of_set(given: list[Any]) -> list[str]:
    """Some characters of a set like [a-z_]."""
    if given[0][0] is codes.NEGATE:
        named = {number for code, value in given[1:] for number in _numbers(code, value)}
        return list(dict.fromkeys((_other_than(named), _other_than(named | {97}))))
    texts = []
    for code, value in given:
        if code is codes.LITERAL:
            texts.append(chr(value))
        elif code is codes.RANGE:
            texts.append(chr(value[0]))
        elif code is codes.CATEGORY:
            texts.append(_CATEGORIES[value])
    return texts[:5]


def _numbers(code: Any, value: Any) -> set[int]:
    if code is codes.LITERAL:
        return {value}
    if code is codes.RANGE:
        return set(range(value[0], min(value[1], value[0] + 300) + 1))
    taken = {codes.CATEGORY_DIGIT: "0123456789", codes.CATEGORY_SPACE: " \n\t\r"}
    letters = "".join(map(chr, range(48, 58))) + "_" + "".join(map(chr, range(65, 123)))
    return set(map(ord, taken.get(value, letters if value is codes.CATEGORY_WORD else "")))


def _other_than(taken: set[int]) -> str:
    return next(
        one for one in "a 7-<长%~\n" + "".join(map(chr, range(33, 900))) if ord(one) not in taken
    )
