"""Faults of a homeserver become the errors of the contract; settings name what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp
import nio.exceptions
import pytest
from pydantic import ValidationError

from adapters.matrix.faults import NotThere, fault_of, mapped
from adapters.matrix.settings import MatrixSettings
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected


def kinds_of(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for one in kind.__subclasses__():
        yield from kinds_of(one)


def exceptions() -> list[type[BaseException]]:
    own = [
        one
        for one in vars(nio.exceptions).values()
        if isinstance(one, type) and issubclass(one, Exception)
    ]
    return [*own, *kinds_of(aiohttp.ClientError), TimeoutError, ConnectionResetError, UnicodeError]


@pytest.mark.parametrize("kind", exceptions())
def test_what_nio_raises_comes_out_as_an_error_of_the_contract(kind: type[BaseException]) -> None:
    error = kind.__new__(kind)
    BaseException.__init__(error, "https://shop.test/?access_token=syt_secret")
    with pytest.raises((ChannelUnavailable, MessageRejected)) as raised, mapped("shop"):
        raise error
    assert "syt_secret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (401, {"errcode": "M_UNKNOWN_TOKEN"}, ChannelUnauthorized),
        (401, {}, ChannelUnauthorized),
        (403, {"errcode": "M_USER_DEACTIVATED"}, ChannelUnauthorized),
        (403, {"errcode": "M_CONSENT_NOT_GIVEN"}, ChannelUnauthorized),
        (403, {"errcode": "M_FORBIDDEN"}, MessageRejected),
        (413, {"errcode": "M_TOO_LARGE"}, MessageRejected),
        (400, {"errcode": "M_BAD_JSON"}, MessageRejected),
        (404, {"errcode": "M_NOT_FOUND"}, NotThere),
        (404, {"errcode": "M_UNRECOGNIZED"}, ChannelUnavailable),
        (404, None, ChannelUnavailable),
        (403, {"errcode": "M_RESOURCE_LIMIT_EXCEEDED"}, ChannelUnavailable),
        (502, None, ChannelUnavailable),
        (302, None, ChannelUnavailable),
    ],
)
def test_an_answer_is_the_error_that_its_catcher_can_use(
    status: int, fields: dict[str, Any] | None, kind: type[Exception]
) -> None:
    fault = fault_of("shop", status, {}, fields)
    assert type(fault) is kind


def test_a_homeserver_may_ask_for_patience_in_two_ways() -> None:
    limit = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}
    fault = fault_of("shop", 429, {}, limit)
    assert isinstance(fault, ChannelUnavailable)
    assert fault.retry_after_seconds == 2.5
    fault = fault_of("shop", 503, {"retry-after": "7"}, None)
    assert isinstance(fault, ChannelUnavailable)
    assert fault.retry_after_seconds == 7


@pytest.mark.parametrize("wait", [None, "5", True, -1, float("nan")])
def test_patience_that_makes_no_sense_is_ours_to_choose(wait: object) -> None:
    fault = fault_of("shop", 429, {}, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": wait})
    assert isinstance(fault, ChannelUnavailable)
    assert fault.retry_after_seconds is None


def test_a_refusal_repeats_no_words_of_the_homeserver() -> None:
    fields = {"errcode": "M_FORBIDDEN\nx", "error": "syt_secret"}
    assert "syt" not in str(fault_of("shop", 403, {}, fields))


KNOWN = {"platform": "matrix", "homeserver": "https://shop.test", "access_token": "syt_abc"}


@pytest.mark.parametrize("invites", ["own", "all", ["shop.test", "@li:shop.test:8448"], []])
def test_invitations_are_accepted_from_whom_the_settings_name(invites: object) -> None:
    MatrixSettings.model_validate(KNOWN | {"invites": invites})


@pytest.mark.parametrize(
    "wrong",
    [
        {"invites": "everybody"},
        {"invites": ["li@shop.test"]},
        {"homeserver": "shop.test"},
        {"access_token": "syt abc"},
        {"agents_chat": "#agents:shop.test"},
    ],
)
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as raised:
        MatrixSettings.model_validate(KNOWN | wrong)
    assert "syt" not in str(raised.value).replace("syt_…", "")
