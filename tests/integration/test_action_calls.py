"""Calls of an operator's system over real HTTP: signed, bounded, not repeated to the dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.actions.calling import FIRST_PAUSE_SECONDS, ActionCaller
from kfbot.actions.settings import ActionSettings
from tests.platforms.order_system import OrderSystem
from tests.platforms.webhook_receiver import Answer

pytestmark = pytest.mark.asyncio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY: dict[str, Any] = {"action": "order_status", "slots": {"order_number": "AB123456"}}
DEAD = Answer(status=500)


def of(order: str, conversation: int | None = None) -> dict[str, Any]:
    """A request about an order; None: it belongs to no conversation."""
    here = None if conversation is None else {"id": conversation}
    return {"action": "order_status", "conversation": here, "slots": {"order_number": order}}


class Time:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def system() -> AsyncIterator[OrderSystem]:
    async with OrderSystem(SECRET) as opened:
        yield opened


def caller(url: str, time: Time, **changed: Any) -> ActionCaller:
    texts = {f"{kind}_{language}": "x" for kind in ("answer", "empty") for language in ("en", "zh")}
    values: dict[str, Any] = {"phrases": ["where"], "url": url, "secret": SECRET} | texts | changed
    return ActionCaller("status", ActionSettings(**values), monotonic=time, retry_seconds=0.001)


async def test_a_request_is_signed_as_the_library_checks_it(system: OrderSystem) -> None:
    came = await caller(system.url, Time()).call("action_1", {**BODY, "customer": "李雷 \ud800"})
    assert (came.kind, came.status) == ("answered", 200)
    assert came.answer["order"]["status"] == "shipped"
    assert system.webhook_ids == ["action_1"]
    assert system.requests[0]["customer"] == "李雷 ?"


async def test_another_secret_is_refused_and_is_no_death(system: OrderSystem) -> None:
    stranger = caller(system.url, Time(), secret="whsec_AAAAAAAA")
    assert [(await stranger.call("a", BODY)).kind for _ in range(2)] == ["refused", "refused"]
    assert system.requests == []


async def test_what_could_not_be_taken_is_tried_again_twice(system: OrderSystem) -> None:
    system.answers = [Answer(status=503), Answer(status=429)]
    assert (await caller(system.url, Time()).call("a", BODY)).kind == "answered"
    assert system.webhook_ids == ["a", "a", "a"]


async def test_a_dead_system_costs_two_tries_and_is_looked_at_again_after_a_pause(
    system: OrderSystem, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    one = caller(system.url, time)
    system.answers = [DEAD] * 6
    assert (await one.call("a", of("AB000001"))).kind == "unavailable"
    assert (await one.call("b", of("AB000002"))).kind == "unavailable"
    assert (await one.call("c", BODY)).kind == "unavailable"
    assert system.webhook_ids == ["a"] * 3 + ["b"] * 3
    time.now += FIRST_PAUSE_SECONDS - 1
    assert (await one.call("d", BODY)).kind == "unavailable"
    time.now += 2
    assert (await one.call("e", BODY)).kind == "answered"
    assert (await one.call("f", BODY)).kind == "answered"
    assert [getattr(record, "event", "") for record in caplog.records].count(
        "action_system_down"
    ) == 1


@pytest.mark.parametrize(
    "asked",
    [
        [of("AB000001", 1), of("AB000002", 1), of("AB000003", 1)],
        [of("AB000001", 1), of("AB000001", 2), of("AB000001")],
    ],
    ids=["one conversation", "one order"],
)
async def test_what_fails_for_one_conversation_or_one_order_alone_is_no_death(
    system: OrderSystem, asked: list[dict[str, Any]]
) -> None:
    one = caller(system.url, Time())
    system.answers = [DEAD] * 9
    assert [(await one.call("a", body)).kind for body in asked] == ["unavailable"] * 3
    assert (await one.call("b", of("AB123456", 7))).kind == "answered"


async def test_an_action_without_values_is_dead_for_two_conversations(system: OrderSystem) -> None:
    one = caller(system.url, Time())
    system.answers = [DEAD] * 6
    for number in (1, 2, 3):
        await one.call("a", {"conversation": {"id": number}, "slots": {}})
    assert len(system.requests) == 6


async def test_many_that_fail_at_once_make_one_pause(system: OrderSystem) -> None:
    time = Time()
    one = caller(system.url, time)
    system.answers = [DEAD] * 15
    await asyncio.gather(*(one.call("a", of(f"AB00000{number}")) for number in range(5)))
    time.now += FIRST_PAUSE_SECONDS + 1
    assert (await one.call("b", BODY)).kind == "answered"


async def test_the_pause_grows_and_one_looks_alone(system: OrderSystem) -> None:
    time = Time()
    one = caller(system.url, time)
    system.answers = [DEAD] * 9
    await one.call("a", of("AB000001"))
    await one.call("a", of("AB000002"))
    time.now += FIRST_PAUSE_SECONDS + 1
    came = await asyncio.gather(one.call("b", BODY), one.call("c", BODY))
    assert [found.kind for found in came] == ["unavailable", "unavailable"]
    assert system.webhook_ids.count("c") == 0
    time.now += FIRST_PAUSE_SECONDS + 1
    assert (await one.call("d", BODY)).kind == "unavailable"
    time.now += FIRST_PAUSE_SECONDS
    assert (await one.call("e", BODY)).kind == "answered"


async def test_who_looks_and_has_failed_before_leaves_the_next_one_to_look(
    system: OrderSystem,
) -> None:
    time = Time()
    one = caller(system.url, time)
    system.answers = [DEAD] * 9
    await one.call("a", of("AB000001"))
    await one.call("a", of("AB000002"))
    time.now += FIRST_PAUSE_SECONDS + 1
    assert (await one.call("b", of("AB000001"))).kind == "unavailable"
    assert (await one.call("c", BODY)).kind == "answered"


async def test_nobody_waits_longer_than_the_time(system: OrderSystem) -> None:
    system.answers = [Answer(hangs=True)]
    one = caller(system.url, Time(), timeout_seconds=0.2)
    assert (await one.call("a", BODY)).kind == "unavailable"
    assert system.webhook_ids == ["a"]


async def test_who_finds_no_place_in_time_is_not_sent(system: OrderSystem) -> None:
    one = caller(system.url, Time(), timeout_seconds=0.2, parallel=1)
    async with one._places:
        assert (await one.call("a", BODY)).kind == "unavailable"
    assert system.webhook_ids == []


async def test_a_closed_port_is_unavailable_and_its_address_is_not_logged(
    system: OrderSystem, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gone = caller("http://127.0.0.1:1/?key=swordfish", Time())
    assert (await gone.call("a", BODY)).kind == "unavailable"
    assert "swordfish" not in caplog.text
    assert "AB123456" not in caplog.text
