"""Log lines: one a record, as text or JSON, with the conversation they belong to."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from kfbot.errors import KfbotError
from kfbot.observability.logs import configure_logging, logging_context

logger = logging.getLogger("kfbot.sample")
NASTY = "first\nsecond\r\n12:00:00 error forged\x1b[31m\u2028end"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.removesuffix("\n").split("\n")


def failed(message: str) -> None:
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        logger.exception(message)


def test_a_json_record_is_one_line_with_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    with logging_context(channel="shop"), logging_context(conversation=7):
        logger.info("turn: %s", NASTY, extra={"event": "turn_finished"})
    [line] = lines(capsys)
    entry = json.loads(line)
    assert entry.pop("at").endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "kfbot.sample",
        "message": f"turn: {NASTY}",
        "event": "turn_finished",
        "channel": "shop",
        "conversation": 7,
    }


def test_a_traceback_stays_on_the_line_of_its_json_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json")
    failed("oh\nno")
    [line] = lines(capsys)
    entry = json.loads(line)
    assert entry["message"] == "oh\nno"
    assert entry["traceback"].startswith("Traceback (most recent call last):\n")
    assert entry["traceback"].endswith("\nValueError")


def test_what_somebody_else_said_cannot_look_like_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("text")
    with logging_context(conversation="7\n12:00:00 error forged"):
        logger.warning("refused: %s", NASTY, extra={"event": "not_sent"})
    [line] = lines(capsys)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert "warning" in line
    assert "event=not_sent" in line
    assert "first\\nsecond" in line


def test_a_traceback_follows_its_text_record(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    failed("oh no")
    first, *rest = lines(capsys)
    assert "oh no" in first
    assert rest[0] == "Traceback (most recent call last):"


def test_what_an_error_of_ours_quotes_cannot_look_like_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("text")
    try:
        raise KfbotError(NASTY)
    except KfbotError:
        logger.exception("oh no")
    said = lines(capsys)
    assert said[-1].startswith("kfbot.errors.KfbotError: first\\nsecond")
    assert not any("\x1b" in line or line.startswith("12:00:00") for line in said)


def test_the_context_ends_with_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    with logging_context(conversation=7):
        pass
    logger.info("later")
    assert "conversation" not in json.loads(lines(capsys)[0])


def test_libraries_are_heard_from_warnings_on_and_we_from_info_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("text")
    for name in ("sqlalchemy", "kfbot.x", "adapters.x", "knowledge.x"):
        logging.getLogger(name).debug("%s debug", name)
        logging.getLogger(name).info("%s info", name)
    said = [line.split()[2] for line in lines(capsys)]
    assert said == ["kfbot.x", "adapters.x", "knowledge.x"]


def test_records_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    logger.info("hello")
    print("answer", file=sys.stdout)
    assert capsys.readouterr().out == "answer\n"
