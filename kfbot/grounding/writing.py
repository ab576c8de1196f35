"""Grounded answers: a chat model writes, and only what its passages say reaches the customer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from kfbot.chat_model import ChatModel, Usage, estimated_tokens
from kfbot.conversation import HistoryMessage, Language
from kfbot.errors import CompletionInvalid
from kfbot.grounding.draft import Draft, Judge
from kfbot.grounding.judging import is_for_the_judge, judged
from kfbot.grounding.merging import merged
from kfbot.grounding.prompting import answer_prompt
from kfbot.grounding.sentences import SentenceStream
from kfbot.grounding.support import Verdict
from kfbot.knowledge_base import Passage
from kfbot.language import language_of
from kfbot.model_settings import AnswerSettings, ChatModelSettings
from kfbot.observability import metrics, tracing

#: Told the text of the answer so far each time it has grown; nothing in it is unchecked.
OnText = Callable[[str], Awaitable[None]]

#: The longest answer of a length, in tokens; a setting may allow less.
_TOKENS = {"short": 160, "normal": 400, "detailed": 8192}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer of a chat model, every sentence of which a passage says."""

    #: With "[1]" behind what the first of the passages says.
    text: str
    #: Those that are cited, in the order of their numbers; `quote` is what the answer rests on.
    passages: tuple[Passage, ...]
    #: Sentences that were taken out, by what their passage lacked.
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes answers with a chat model."""

    model: ChatModel
    settings: ChatModelSettings = field(default_factory=ChatModelSettings)
    style: AnswerSettings = field(default_factory=AnswerSettings)

    @property
    def max_tokens(self) -> int:
        """The longest answer in this style."""
        return min(self.settings.answer_tokens, _TOKENS[self.style.length])

    async def write(
        self,
        question: str,
        passages: Sequence[Passage],
        *,
        language: Language,
        usage: Usage,
        history: Sequence[HistoryMessage] = (),
        channel: str = "",
        on_text: OnText | None = None,
    ) -> Written | None:
        """Answer from passages, the best first; None: the model says that they do not answer.

        What was told as it grew may come to nothing: the whole may be refused, or be worth less
        than a quote.

        Raises:
            ChatModelUnavailable: There is no answer, or not all of it.
            CompletionUnsupported: Too much of what the model wrote is not in the passages.
            CompletionInvalid: There is no room for a passage, or what came is no completion.
        """
        prompt, shown = answer_prompt(
            question,
            found := merged(passages),
            history=history,
            language=language,
            style=self.style,
            budget_tokens=self.model.context_tokens - self.max_tokens,
        )
        if not shown:
            raise CompletionInvalid("the passages have no room in context_tokens")
        draft = Draft(found[:shown], language, question, self._judge(usage, channel))
        waits = self._is_judged(found[:shown], language)
        completion = self.model.complete(
            prompt, max_tokens=self.max_tokens, usage=usage, channel=channel
        )
        with tracing.span("write", passages=shown), metrics.stage("write"):
            await self._fill(draft, completion, usage, on_text, waits=waits)
        if draft.refused:
            return None
        draft.check_whole()
        return Written(text=draft.text, passages=draft.cited(), dropped=tuple(draft.dropped))

    async def _fill(
        self,
        draft: Draft,
        completion: AsyncIterator[str],
        usage: Usage,
        on_text: OnText | None,
        *,
        waits: bool,
    ) -> None:
        """Put a completion into a draft, sentence by sentence; it is closed whatever ends it.

        Args:
            waits: Sentences are checked once all have come: a judge that is asked meanwhile would
                wait for the place that the completion takes.
        """
        stream, ready, spent, text = SentenceStream(), [], usage.completion_tokens, ""
        # Beside the model, which takes longer to begin.
        preparing = asyncio.create_task(asyncio.to_thread(draft.prepare))
        try:
            async for piece in completion:
                text += piece
                ready += stream.feed(piece)
                while ready and not waits:
                    await preparing
                    if await draft.add(ready.pop(0)) and on_text is not None:
                        await on_text(draft.text)
        finally:
            # The place at the endpoint is free at once, whatever ended this.
            if isinstance(completion, AsyncGenerator):
                await completion.aclose()
            await preparing
        is_full = max(usage.completion_tokens - spent, estimated_tokens(text)) >= self.max_tokens
        for sentence in ready:
            await draft.add(sentence)
        for sentence in stream.close():
            await draft.add(sentence, is_last=True, is_full=is_full)

    def _is_judged(self, passages: Sequence[Passage], language: Language) -> bool:
        """Whether sentences on these may need the judge."""
        if self.settings.judge != "cross_language":
            return self.settings.judge == "always"
        return any(language_of(one.text, language) != language for one in passages)

    def _judge(self, usage: Usage, channel: str) -> Judge:
        async def judge(sentence: str, passage: str, verdict: Verdict) -> Verdict:
            if not is_for_the_judge(verdict, self.settings.judge):
                return verdict
            says_so = await judged(sentence, passage, self.model, usage=usage, channel=channel)
            return "supported" if says_so else "words" if verdict == "supported" else verdict

        return judge
