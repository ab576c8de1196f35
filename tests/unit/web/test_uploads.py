"""File names of uploaded documents."""

from __future__ import annotations

import pytest

from kfbot.web import uploads
from kfbot.web.api import BadRequest


@pytest.mark.parametrize(
    ("given", "kept_as"),
    [
        ("returns.md", "returns.md"),
        ("退货 政策.PDF", "退货 政策.PDF"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\docs\\returns.md", "returns.md"),
        ("/absolute.md", "absolute.md"),
        ("..%2F..%2Fpasswd.txt", "passwd.txt"),
        ("%E9%80%80%E8%B4%A7.md", "退货.md"),
        ("100%.md", "100%.md"),
        (".hidden.md", "hidden.md"),
        ("a\x00b\nc\u202e.md", "abc.md"),
        ("a<b>:c.md", "abc.md"),
        ("e\u0301.md", "é.md"),
        ("长" * 300 + ".md", "长" * 65 + ".md"),
    ],
)
def test_a_name_is_left_without_what_could_lead_elsewhere(given: str, kept_as: str) -> None:
    assert uploads.safe_name(given) == kept_as


@pytest.mark.parametrize("given", ["", ".", "..", "/", "...md", ".md", "a", "x." + "长" * 100])
def test_a_name_of_which_nothing_is_left_is_refused(given: str) -> None:
    with pytest.raises(BadRequest, match="name and an ending"):
        uploads.safe_name(given)
