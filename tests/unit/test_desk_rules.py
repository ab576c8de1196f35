"""Logins, passwords and lock-outs: the pure rules of signing in."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from kfbot.agents import login_of
from kfbot.changes import Changes
from kfbot.passwords import LONGEST, Passwords, fault_of
from kfbot.store.sign_ins import lock_after

SECRET = "correct horse battery"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Anna", "anna"),
        (" anna ", "anna"),
        ("ＡＮＮＡ", "anna"),
        ("李娜", "李娜"),
        ("a.b+c@shop-1.example", "a.b+c@shop-1.example"),
        ("", None),
        ("a b", None),
        ("web/7", None),
        ("-a", None),
        ("a\n", "a"),
        ("a\u202eb", None),
        ("Token", None),
        ("bot", None),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
    ],
)
def test_a_login_is_one_word_in_lower_case(typed: str, kept: str | None) -> None:
    assert login_of(typed) == kept


@pytest.mark.parametrize("password", ["short", "x" * (LONGEST + 1), "abababababab", "Anna.Meier1"])
def test_a_password_that_is_easy_to_guess_has_a_fault(password: str) -> None:
    assert fault_of(password, "anna.meier1") is not None


@pytest.mark.parametrize("password", [SECRET, "密码要长一点才安全哦", "x1y2z3w4v5"])
def test_a_long_password_has_none(password: str) -> None:
    assert fault_of(password, "anna") is None


def test_a_lock_doubles_up_to_a_quarter_of_an_hour() -> None:
    locks = [lock_after(failures, 5) for failures in range(4, 12)]
    seconds = [None if lock is None else lock.total_seconds() for lock in locks]
    assert seconds == [None, 30, 60, 120, 240, 480, 900, 900]
    assert lock_after(10**9, 5) == timedelta(minutes=15)


@pytest.mark.asyncio
async def test_a_hash_is_argon2id_and_matches_its_password_alone() -> None:
    passwords = Passwords()
    kept = await passwords.hash(SECRET)
    assert re.match(r"\$argon2id\$v=19\$m=\d{5,},t=\d", kept)
    assert SECRET not in kept
    assert await passwords.matches(kept, SECRET)
    assert not await passwords.matches(kept, SECRET + " ")
    assert not await passwords.matches("no hash", SECRET)
    assert not await passwords.matches(None, SECRET)
    assert not await passwords.matches(kept, "half a pair \ud83d")


def test_notices_are_followed_each_once_and_in_order() -> None:
    changes = Changes()
    with changes.following() as heard:
        for notice in ("lane", "conversation 1", "lane"):
            changes.announce(notice)
        assert heard.any.is_set()
        assert heard.take() == ("lane", "conversation 1")
        assert not heard.any.is_set()
    changes.announce("lane")
    assert heard.take() == ()
