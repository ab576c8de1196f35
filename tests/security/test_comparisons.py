"""Secrets, signatures and tokens are compared in constant time: read out of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
#: Where something is compared with what a stranger sent.
FOLDERS = ("adapters", "kfbot/web")
_SECRET = re.compile(
    r"secret|token(?!s_|_ids|izer)|signature|(?<!as)signed|digest|hmac|passw|csrf|api_key|cookie|sealed",
    re.IGNORECASE,
)
#: Comparisons that tell a stranger nothing.
KNOWN = {
    # Our own token against the one that we had, after a platform refused it.
    ("adapters/dingtalk/adapter.py", "(again := (await self._token.get())) == token"),
    # Of a button that is shown to an agent: both come from our database.
    ("kfbot/web/desk/shown.py", "button['token'] in message.pressed"),
}


def comparisons(source: str) -> Iterator[str]:
    """What is compared by ==, != or `in`, and is called like a secret."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        if not all(isinstance(one, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for one in node.ops):
            continue
        sides = [node.left, *node.comparators]
        # What stands in the source is no secret; what the database compares are hashes.
        if any(_is_fixed(side) for side in sides):
            continue
        if any(_SECRET.search(ast.unparse(side)) for side in sides):
            yield ast.unparse(node)


def _is_fixed(side: ast.expr) -> bool:
    if isinstance(side, (ast.Constant, ast.Dict)):
        return True
    if isinstance(side, (ast.Tuple, ast.List, ast.Set)):
        return all(_is_fixed(one) for one in side.elts)
    text = ast.unparse(side)
    return text.startswith("len(") or text.isupper() or ".c." in text


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("given == secret", True),
        ("headers['x'] != self._settings.token.get_secret_value()", True),
        ("header in self._tokens", True),
        ("hmac.compare_digest(given, secret)", False),
        ("session.c.token_hash == hash_of(token)", False),
        ("token is None", False),
        ("kind == 'token'", False),
    ],
)
def test_a_comparison_of_a_secret_is_seen(source: str, found: bool) -> None:
    assert bool(list(comparisons(source))) is found


def test_no_secret_is_compared_byte_by_byte() -> None:
    found = {
        (file.relative_to(CHECKOUT).as_posix(), one)
        for folder in FOLDERS
        for file in (CHECKOUT / folder).rglob("*.py")
        for one in comparisons(file.read_text("utf-8"))
    }
    assert found - KNOWN == set()
    assert KNOWN - found == set(), "no longer there: take it out of KNOWN"
