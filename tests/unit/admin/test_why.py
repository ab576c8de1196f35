"""What admins are told of what a chat model wrote."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from kfbot.admin import texts as admin_texts
from kfbot.conversation import Language
from kfbot.grounding.support import Verdict
from kfbot.store.accounts import TurnAccount
from kfbot.texts import command_texts

LANGUAGES = get_args(Language)


def why(language: Language, **usage: Any) -> str:
    turn = TurnAccount(question="?", decision="answer", confidence=0.9, evidence={}, usage=usage)
    return admin_texts.why(turn, None, 5.0, 3, command_texts(language))


def test_the_sentences_that_were_taken_out_are_counted_by_reason() -> None:
    dropped = ["number", "words", "number"]
    told = "删去的句子：3 句（数字不符: 2, 用词没有依据: 1）。"
    assert told in why("zh", outcome="written", dropped=dropped)
    told = "Sentences taken out: 3 (another number: 2, words that are not there: 1)."
    [line] = [
        one for one in why("en", outcome="written", dropped=dropped).split("\n") if told in one
    ]
    assert line.startswith("A chat model wrote the answer")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_outcome_is_told_and_no_model_is_not(language: Language) -> None:
    told = {why(language, outcome=one) for one in ("written", "refused", "unsupported")}
    told |= {why(language, outcome="unavailable"), why(language)}
    assert len(told) == 5
    assert why(language) == why(language, model="small", requests=1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_verdict_that_takes_a_sentence_out_has_a_name(language: Language) -> None:
    names = command_texts(language).why_lacked
    assert set(names) == set(get_args(Verdict)) - {"supported", "nothing"}
    assert len(set(names.values())) == len(names)
