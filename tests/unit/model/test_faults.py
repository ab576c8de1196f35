"""No error of the SDK or of HTTP leaves the room, and none of ours tells a key or a customer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import httpx
import openai
import pytest

from kfbot.errors import ChatModelError, ChatModelUnavailable, CompletionInvalid
from kfbot.model.faults import EndpointUnavailable, NoCompletion, RequestRefused, endpoint_faults

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")
SECRET = "sk-secret my address is 5 Elm Street"


def response(status: int, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, request=REQUEST, headers=headers, text=SECRET)


def all_below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for one in kind.__subclasses__():
        yield from all_below(one)


def made(kind: type[BaseException]) -> BaseException:
    """An instance without running what it is made with: every SDK class wants something else."""
    error = kind.__new__(kind)
    error.args = (SECRET,)
    for name, value in {
        "message": SECRET,
        "request": REQUEST,
        "response": response(getattr(kind, "status_code", 500)),
        "body": SECRET,
        "code": None,
    }.items():
        if not isinstance(getattr(kind, name, None), property):
            setattr(error, name, value)
    if isinstance(error, openai.APIStatusError) and not hasattr(error, "status_code"):
        error.status_code = 500
    return error


SDK = sorted(
    {*all_below(openai.OpenAIError), *all_below(httpx.HTTPError)}, key=lambda one: str(one)
)


def test_the_walk_finds_the_errors_of_the_sdk() -> None:
    public = {
        one
        for name, one in inspect.getmembers(openai, inspect.isclass)
        if issubclass(one, openai.OpenAIError)
    }
    assert len(public) > 12
    assert public <= set(SDK)


@pytest.mark.parametrize("kind", SDK, ids=lambda kind: kind.__name__)
def test_every_error_of_the_sdk_becomes_one_line_of_ours(kind: type[BaseException]) -> None:
    with pytest.raises(ChatModelError) as raised, endpoint_faults("qwen"):
        raise made(kind)
    assert isinstance(raised.value, EndpointUnavailable | CompletionInvalid)
    text = str(raised.value)
    assert text.startswith("qwen ")
    assert "\n" not in text
    assert "sk-" not in text
    assert "Elm" not in text


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, "settings"),
        (404, {}, "settings"),
        (307, {}, "settings"),
        (429, {}, "passing"),
        (429, {"Retry-After": "1"}, "passing"),
        (429, {"Retry-After": "30"}, "busy"),
        (503, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, "busy"),
        (503, {"Retry-After": "soon"}, "passing"),
        (500, {}, "passing"),
        (529, {}, "passing"),
    ],
)
def test_a_status_says_what_to_do_with_its_endpoint(
    status: int, headers: dict[str, str], kind: str
) -> None:
    error = openai.APIStatusError("", response=response(status, headers), body=None)
    with pytest.raises(EndpointUnavailable) as raised, endpoint_faults("qwen"):
        raise error
    assert raised.value.kind == kind
    assert str(status) in str(raised.value)


def test_a_pause_that_is_asked_for_is_handed_on() -> None:
    answer = response(429, {"Retry-After": "1.5"})
    with pytest.raises(ChatModelUnavailable) as raised, endpoint_faults("qwen"):
        raise openai.APIStatusError("", response=answer, body=None)
    assert raised.value.retry_after_seconds == 1.5


def test_a_prompt_that_is_too_long_is_no_fault_of_the_endpoint() -> None:
    error = openai.BadRequestError(
        "This model's maximum context length is 4096 tokens.", response=response(400), body=None
    )
    with (
        pytest.raises(CompletionInvalid, match="context_tokens") as raised,
        endpoint_faults("qwen"),
    ):
        raise error
    assert not isinstance(raised.value, NoCompletion | RequestRefused)


def test_an_error_that_nobody_expects_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), endpoint_faults("qwen"):
        _ = 1 / 0
