"""What went wrong at an endpoint, as kfbot's errors: one line, no key, no customer's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx
import openai

from kfbot.errors import ChatModelError, ChatModelUnavailable, CompletionInvalid

#: What a fault says about its endpoint. dead: it does not answer, nothing should wait for it;
#: settings: a person must correct something; busy: not before `retry_after_seconds`; passing: the
#: next request may succeed, behind `retry_after_seconds` if that is set.
Kind = Literal["dead", "settings", "busy", "passing"]

#: A pause that a customer can be kept waiting for.
_SHORT_SECONDS = 2.0
#: How servers word a prompt that is too long; there is no one code for it.
_TOO_LONG = ("context length", "context_length", "context window", "too long", "maximum length")
_SETTINGS = {
    401: "refuses the key: correct api_key",
    402: "wants to be paid: look at its account",
    403: "refuses this key or this place: correct api_key",
    404: "knows no such model, or is none: correct model or base_url",
    405: "is no chat model: base_url ends with /v1, mostly",
}


class EndpointUnavailable(ChatModelUnavailable):
    """No completion from one endpoint, or not all of it."""

    def __init__(
        self, message: str, kind: Kind, *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.kind: Kind = kind


class NoCompletion(CompletionInvalid):
    """What an endpoint sent is no completion; it may be no chat model at all."""


class RequestRefused(CompletionInvalid):
    """An endpoint refuses something in a request; another request it may take."""


@contextmanager
def endpoint_faults(name: str) -> Iterator[None]:
    """Errors of the SDK, of HTTP and of what it makes of garbage leave this as kfbot's.

    Args:
        name: Of the endpoint, for the operator.

    Raises:
        EndpointUnavailable: It did not answer, or not all.
        NoCompletion: What came is no completion.
        CompletionInvalid: It refuses the prompt.
    """
    try:
        yield
    except (
        *(openai.OpenAIError, httpx.HTTPError, TimeoutError),
        # What the SDK and LlamaIndex make of garbage.
        *(ValueError, TypeError, AttributeError, LookupError),
    ) as error:
        # What was raised while the answer was looked at comes wrapped by the SDK.
        own = error.__cause__ if isinstance(error.__cause__, ChatModelError) else None
        raise (own or _as_ours(name, error)) from error


def _as_ours(name: str, error: Exception) -> ChatModelError:
    if isinstance(error, openai.APIStatusError):
        return _of_status(name, error)
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return _of_connection(name, httpx.ReadTimeout(""))
    if isinstance(error, openai.APIConnectionError):
        return _of_connection(name, error.__cause__)
    if isinstance(error, httpx.HTTPError):
        return _of_connection(name, error)
    if isinstance(error, openai.APIError) and not isinstance(
        error, openai.APIResponseValidationError
    ):
        # It came inside of the stream, in place of a chunk.
        return EndpointUnavailable(f"{name} broke off with an error", "passing")
    return NoCompletion(f"{name} answers with what is no completion: is base_url right?")


def _of_connection(name: str, cause: BaseException | None) -> EndpointUnavailable:
    if isinstance(cause, httpx.TimeoutException):
        return EndpointUnavailable(f"{name} took too long", "dead")
    if isinstance(cause, httpx.ConnectError):
        return EndpointUnavailable(f"{name} cannot be reached: is it running?", "dead")
    if isinstance(cause, httpx.TransportError):
        return EndpointUnavailable(f"{name} broke the connection", "passing")
    return EndpointUnavailable(f"{name} cannot be asked: {type(cause).__name__}", "passing")


def _of_status(name: str, error: openai.APIStatusError) -> ChatModelError:
    status = error.status_code
    if status in _SETTINGS:
        return EndpointUnavailable(f"{name} {_SETTINGS[status]} (HTTP {status})", "settings")
    retry_after = _retry_after_seconds(error.response)
    if status in (429, 503):
        kind: Kind = "busy" if (retry_after or 0.0) > _SHORT_SECONDS else "passing"
        return EndpointUnavailable(
            f"{name} is busy (HTTP {status})", kind, retry_after_seconds=retry_after
        )
    if status in (408, 409) or status >= 500:
        return EndpointUnavailable(f"{name} failed (HTTP {status})", "passing")
    if status == 413 or any(words in str(error.message).casefold() for words in _TOO_LONG):
        return CompletionInvalid(
            f"the prompt is too long for {name}: lower [chat_model] context_tokens to its context"
        )
    if status < 400:
        return EndpointUnavailable(
            f"{name} has moved: correct base_url (HTTP {status})", "settings"
        )
    return RequestRefused(f"{name} refuses the request (HTTP {status})")


def _retry_after_seconds(response: httpx.Response) -> float | None:
    """When to come again, as seconds or as a date (RFC 9110, 10.2.3); None: it does not say."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), 3600.0)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - datetime.now(UTC)).total_seconds(), 0.0), 3600.0)
