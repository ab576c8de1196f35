"""Calls of an operator's system over real HTTP: signed, bounded, not repeated to the dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.action_settings import ActionSettings
from kfbot.actions.calling import FIRST_PAUSE_SECONDS, ActionCaller
from tests.platforms.order_system import OrderSystem
from tests.platforms.webhook_receiver import Answer

pytestmark = pytest.mark.asyncio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY: dict[str, Any] = {"action": "order_status", "slots": {"order_number": "AB123456"}}
DEAD = Answer(status=500)


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


async def test_a_dead_system_costs_one_try_and_is_looked_at_again_after_a_pause(
    system: OrderSystem, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    one = caller(system.url, time)
    system.answers = [DEAD] * 3
    assert (await one.call("a", BODY)).kind == "unavailable"
    assert (await one.call("b", BODY)).kind == "unavailable"
    assert system.webhook_ids == ["a", "a", "a"]
    time.now += FIRST_PAUSE_SECONDS - 1
    assert (await one.call("c", BODY)).kind == "unavailable"
    time.now += 2
    assert (await one.call("d", BODY)).kind == "answered"
    assert (await one.call("e", BODY)).kind == "answered"
    assert [getattr(record, "event", "") for record in caplog.records].count(
        "action_system_down"
    ) == 1


async def test_the_pause_grows_and_one_looks_alone(system: OrderSystem) -> None:
    time = Time()
    one = caller(system.url, time)
    system.answers = [DEAD] * 6
    await one.call("a", BODY)
    time.now += FIRST_PAUSE_SECONDS + 1
    came = await asyncio.gather(one.call("b", BODY), one.call("c", BODY))
    assert [found.kind for found in came] == ["unavailable", "unavailable"]
    assert system.webhook_ids.count("c") == 0
    time.now += FIRST_PAUSE_SECONDS + 1
    assert (await one.call("d", BODY)).kind == "unavailable"
    time.now += FIRST_PAUSE_SECONDS
    assert (await one.call("e", BODY)).kind == "answered"


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
