"""Customers come at their rate whatever the bot does; times count from when they were due."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from kfbot.cli.load_driving import Line, NotTaken, Plan, Reply, drive

pytestmark = pytest.mark.asyncio
PLAN = Plan(rate=200, seconds=0.25, patience_seconds=0.3, conversations=3)


class SmallBot(Line):
    """Answers as it is told to."""

    def __init__(self, respond: Callable[[SmallBot, int, int], None]) -> None:
        super().__init__("small")
        self.said: list[tuple[int, str, int]] = []
        self._respond = respond

    async def say(self, chat: int, text: str, event: int) -> None:
        self.said.append((chat, text, event))
        self._respond(self, chat, event)


async def test_each_question_is_asked_once_and_its_answer_counted() -> None:
    bot = SmallBot(lambda bot, chat, _: bot.on_reply(chat, Reply("yes")))
    progress: list[tuple[int, int]] = []
    result = await drive(
        [bot], ["A?", "B?"], PLAN, on_progress=lambda *counts: progress.append(counts)
    )
    tally = result.tallies["small"]
    assert tally.offered == tally.taken == len(tally.answers) == len(tally.acks) == len(bot.said)
    # Poisson: 50 are due; that it is this many always the seed sees to.
    assert 30 < tally.offered < 75
    assert {text for _, text, _ in bot.said} == {"A?", "B?"}
    assert len({event for _, _, event in bot.said}) == len(bot.said)
    assert {chat for chat, _, _ in bot.said} <= {1, 2, 3}
    assert progress[-1][1] == tally.offered


async def test_no_conversation_asks_twice_in_a_row_what_would_look_like_a_complaint() -> None:
    bot = SmallBot(lambda bot, chat, _: bot.on_reply(chat, Reply("yes")))
    for _ in range(2):
        await drive([bot], ["A?", "B?", "C?"], PLAN)
    for number in range(1, 4):
        asked = [text for chat, text, _ in bot.said if chat == number]
        assert len(asked) > 3
        assert all(one != other for one, other in pairwise(asked))


async def test_what_is_not_taken_is_sent_again_as_the_same_message() -> None:
    def refuse_once(bot: SmallBot, chat: int, event: int) -> None:
        if Counter(one for _, _, one in bot.said)[event] == 1:
            raise NotTaken("status 503", 0.0)
        bot.on_reply(chat, Reply("yes"))

    tally = (await drive([bot := SmallBot(refuse_once)], ["A?"], PLAN)).tallies["small"]
    assert tally.refusals == Counter({"status 503": tally.offered})
    assert len(tally.answers) == tally.offered
    assert set(Counter(event for _, _, event in bot.said).values()) == {2}


async def test_a_bot_that_answers_nobody_is_found_out_and_customers_keep_coming() -> None:
    tally = (await drive([bot := SmallBot(lambda *_: None)], ["A?"], PLAN)).tallies["small"]
    assert tally.unanswered == tally.offered == tally.taken
    assert not tally.answers
    # Nobody asks again where an answer is waited for.
    assert len({chat for chat, _, _ in bot.said}) == len(bot.said)


async def test_a_bot_that_stands_still_shows_it_in_all_who_were_due_meanwhile() -> None:
    def stand_still_once(bot: SmallBot, chat: int, event: int) -> None:
        if event == 1:
            # The whole process stands, the driver with it.
            time.sleep(0.2)
        bot.on_reply(chat, Reply("yes"))

    result = await drive([SmallBot(stand_still_once)], ["A?"], PLAN)
    late = [one for one in result.tallies["small"].answers if one > 0.05]
    # 200 a second were due for 0.15 s at least; a driver that waits for its turn would show one.
    assert len(late) > 15
    assert result.driver_lag_seconds > 0.1


async def test_further_messages_are_no_answers() -> None:
    def respond(bot: SmallBot, chat: int, event: int) -> None:
        for text in ("yes", "one more thing"):
            bot.on_reply(chat, Reply(text))

    result = await drive([SmallBot(respond)], ["A?"], PLAN)
    tally = result.tallies["small"]
    assert tally.further == len(tally.answers) == tally.offered


async def test_nobody_asks_on_where_a_person_has_taken_over() -> None:
    bot = SmallBot(lambda bot, chat, _: bot.on_reply(chat, Reply("a person comes", ended=True)))
    await drive([bot], ["A?"], PLAN)
    assert len({chat for chat, _, _ in bot.said}) == len(bot.said)


async def test_where_replies_go_elsewhere_only_acknowledgements_are_waited_for() -> None:
    bot = SmallBot(lambda *_: None)
    bot.hears = False
    tally = (await drive([bot], ["A?"], PLAN)).tallies["small"]
    assert (tally.taken, tally.unanswered, tally.answers) == (tally.offered, 0, [])
