"""Whether a chat model is fit to answer customers: asked with the bot's own prompts, and timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.conversation import Language
from kfbot.errors import ChatModelError, ChatModelUnavailable, CompletionInvalid
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import Passage
from kfbot.model_settings import ChatModelSettings

#: Tokens of each completion that is timed.
_TIMED_TOKENS = 64
#: A right answer to one of the questions is far shorter.
_ANSWER_TOKENS = 128
#: So many of the questions must be right.
_ENOUGH = 5
#: A customer who waits longer for the first word has gone.
_FIRST_TOKEN_MS = 5000.0


@dataclass(frozen=True, slots=True)
class _Question:
    language: Language
    text: str
    #: What a right answer says; "": the passages do not answer.
    says: str


_PASSAGES: dict[Language, tuple[str, str]] = {
    "en": ("Returns", "You can return unworn shoes within 45 days. The refund takes 6 days."),
    "zh": ("退货", "未穿过的鞋子可在45天内退货。退款需要6天到账。"),
}
_QUESTIONS = (
    _Question("en", "How many days do I have to return shoes?", "45"),
    _Question("en", "How long does the refund take?", "6"),
    _Question("en", "Do you ship to Norway?", ""),
    _Question("zh", "鞋子可以在多少天内退货？", "45"),
    _Question("zh", "退款多久到账？", "6"),
    _Question("zh", "可以寄到挪威吗？", ""),
)
#: Steps that progress counts, beside one a parallel measurement.
STEPS = 4 + len(_QUESTIONS)


@dataclass(slots=True, kw_only=True)
class Measured:
    """What was seen of one model."""

    address: str
    model: str = ""
    #: Why it could not be asked; "": it could.
    fault: str = ""
    first_token_ms: float = 0.0
    tokens_per_second: float = 0.0
    #: Tokens a second of all together, by how many were asked at the same time; 0: one failed.
    parallel: dict[int, float] = field(default_factory=dict)
    streams: bool = False
    stops_at_max_tokens: bool = False
    heeds_system: bool = False
    #: Tokens of a prompt that fills [chat_model] context_tokens and was answered; 0: it was not.
    context_tokens: int = 0
    right: int = 0
    #: Questions that came out wrong, and how.
    wrong: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Why it is not fit to answer customers; "": it is."""
        reasons = (
            (bool(self.fault), self.fault),
            (
                self.right < _ENOUGH,
                f"{self.right} of {len(_QUESTIONS)} questions right: take a larger model",
            ),
            (not self.stops_at_max_tokens, "it does not stop at max_tokens"),
            (
                self.first_token_ms > _FIRST_TOKEN_MS,
                f"customers wait {self.first_token_ms / 1000:.0f} s for the first word",
            ),
            (not self.context_tokens, "a prompt of [chat_model] context_tokens fails: lower it"),
        )
        return next((reason for applies, reason in reasons if applies), "")


async def measure(
    settings: ChatModelSettings, parallel: Sequence[int], step: Callable[[], None]
) -> list[Measured]:
    """Measure each endpoint of the settings, or the model of this process.

    Args:
        step: Told when one of `STEPS` and of `parallel` is done, of each.
    """
    sections = (settings, *settings.fallbacks)
    found = []
    for section in sections:
        measured = Measured(address=section.base_url or "in this process")
        try:
            update = {**section.model_dump(include={"base_url", "model", "api_key"})}
            update |= {"fallbacks": (), "parallel": max((settings.parallel, *parallel))}
            async with _opened(settings.model_copy(update=update)) as model:
                await _measure(model, settings, parallel, measured, step)
        except ChatModelError as error:
            measured.fault = str(error)
        found.append(measured)
    return found


@asynccontextmanager
async def _opened(settings: ChatModelSettings) -> AsyncIterator[ChatModel]:
    from kfbot.model.opening import open_chat_model

    model = open_chat_model(settings.model_copy(update={"first_token_seconds": 600.0}))
    assert model is not None
    try:
        yield model
    finally:
        await model.aclose()


async def _measure(
    model: ChatModel,
    settings: ChatModelSettings,
    parallel: Sequence[int],
    measured: Measured,
    step: Callable[[], None],
) -> None:
    # The first one warms it up.
    await _said(model, "Hello", 1)
    step()
    began = time.monotonic()
    usage, pieces, _ = await _said(model, "Count from 1 to 100 in words.", _TIMED_TOKENS)
    seconds = time.monotonic() - began
    measured.model, measured.first_token_ms = usage.model, usage.first_token_ms
    measured.streams = pieces > 1
    measured.stops_at_max_tokens = usage.completion_tokens <= _TIMED_TOKENS
    measured.tokens_per_second = usage.completion_tokens / seconds
    step()
    for count in parallel:
        measured.parallel[count] = await _together(model, count)
        step()
    _, _, text = await _said(model, "What is the capital of France?", 16, "Say only: BANANA")
    measured.heeds_system = "banana" in text.casefold()
    step()
    await _ask_questions(model, settings, measured, step)
    measured.context_tokens = await _longest(model, settings)
    step()


async def _said(
    model: ChatModel, text: str, max_tokens: int, system: str = "You are kind."
) -> tuple[Usage, int, str]:
    usage, pieces = Usage(), []
    prompt = (ChatMessage("system", system), ChatMessage("user", text))
    try:
        async for piece in model.complete(prompt, max_tokens=max_tokens, usage=usage):
            pieces.append(piece)
    except CompletionInvalid:
        # All of a few tokens may have gone into a thought.
        if max_tokens > 1:
            raise
    return usage, len(pieces), "".join(pieces)


async def _together(model: ChatModel, count: int) -> float:
    began = time.monotonic()
    texts = [f"Count from {number} to 1000 in words." for number in range(count)]
    try:
        said = await asyncio.gather(*(_said(model, text, _TIMED_TOKENS) for text in texts))
    except ChatModelError:
        return 0.0
    return sum(usage.completion_tokens for usage, _, _ in said) / (time.monotonic() - began)


async def _longest(model: ChatModel, settings: ChatModelSettings) -> int:
    # A word that is one token of nearly every vocabulary; a tenth is left for what is not.
    words = (min(model.context_tokens, settings.context_tokens) - 16) * 9 // 10
    try:
        usage, _, _ = await _said(model, " the" * words, 1)
    except ChatModelError:
        return 0
    return usage.prompt_tokens


async def _ask_questions(
    model: ChatModel, settings: ChatModelSettings, measured: Measured, step: Callable[[], None]
) -> None:
    tokens = min(settings.answer_tokens, _ANSWER_TOKENS)
    update = {"judge": "never", "answer_tokens": tokens}
    writer = Writer(model, settings.model_copy(update=update))
    for question in _QUESTIONS:
        if fault := await _fault(writer, question):
            measured.wrong.append(f"{question.text} {fault}")
        else:
            measured.right += 1
        step()


async def _fault(writer: Writer, question: _Question) -> str:
    """What is wrong with the answer; "": nothing."""
    title, text = _PASSAGES[question.language]
    passage = Passage(
        knowledge_base="check",
        document_id="returns",
        chunk_id="returns",
        kind="document",
        title=title,
        text=text,
        score=1.0,
    )
    try:
        written = await writer.write(
            question.text, (passage,), language=question.language, usage=Usage()
        )
    except CompletionInvalid:
        return "nothing of the answer was in the passage"
    except ChatModelUnavailable as error:
        return f"no answer: {error}"
    if written is None:
        return "it refused" if question.says else ""
    if not question.says:
        return "it answered what the passage does not say"
    return "" if question.says in written.text else "the answer is another"
