"""A chat model in this process, through transformers, with its continuous batching.

Questions that are asked together are generated together: each step of the worker's loop makes one
token for all of them. A new question joins at the next step.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfbot.chat_model import ChatMessage, Usage
from kfbot.errors import ChatModelUnavailable, CompletionInvalid, SettingsError
from kfbot.model.served import CPU_CACHE
from kfbot.model.slots import Slots
from kfbot.model.thoughts import Thoughts
from kfbot.model.tuning.record import warning_of
from kfbot.model.weights import check_adapter, check_installed, check_model, memory_fault
from kfbot.model_settings import ChatModelSettings
from kfbot.observability.metrics import model_request

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: What could not be loaded for want of memory is tried again after so long.
_RETRY_SECONDS = 60.0
_ADVICE = "out of memory: a smaller model, or kfbot model serve --quantization bnb-4bit beside it"


class InProcess:
    """A `ChatModel`; it is loaded in the background, and until then has no completions."""

    def __init__(self, settings: ChatModelSettings) -> None:
        """Begin to load.

        Raises:
            SettingsError: There is no such model, or its adapter is not made for it.
        """
        check_installed("torch", "transformers", extra="model")
        check_model(settings.model)
        if settings.adapter:
            check_installed("peft", extra="tune")
            adapter = Path(settings.adapter)
            check_adapter(adapter, settings.model)
            if warning := warning_of(adapter):
                logger.warning("%s", warning, extra={"event": "adapter_not_fit"})
        self._settings = settings
        self._name = Path(settings.model).name
        self._slots = Slots(settings.parallel, settings.queue_seconds)
        # One thread loads, restarts and ends; generation has another, of transformers.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="chat-model")
        self._loaded: Future[_Loaded] = self._worker.submit(_load, settings)
        self._loaded_at = time.monotonic()
        self._closed = False

    @property
    def context_tokens(self) -> int:
        if self._loaded.done() and self._loaded.exception() is None:
            return min(self._settings.context_tokens, self._loaded.result().context_tokens)
        return self._settings.context_tokens

    @property
    def fault(self) -> str:
        failed = self._loaded.exception() if self._loaded.done() else None
        return "" if failed is None else f"{self._name} was not loaded: {failed}"

    async def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[str, None]:
        """See `ChatModel`; a prompt that leaves no room for `max_tokens` is too long.

        Raises:
            ChatModelUnavailable: See `ChatModel`; also while it is being loaded.
            CompletionInvalid: See `ChatModel`.
        """
        began = time.monotonic()
        deadline = began + (timeout_seconds or self._settings.timeout_seconds)
        first = min(deadline, began + self._settings.first_token_seconds)
        async with self._slots.taken():
            loaded = await self._ready(first)
            tokens = await asyncio.to_thread(loaded.tokens_of, prompt)
            if len(tokens) + max_tokens > self.context_tokens:
                raise CompletionInvalid(
                    f"the prompt is too long for {self._name}: {len(tokens)} tokens, and "
                    f"{max_tokens} for the answer, of {self.context_tokens}"
                )
            usage.model, usage.requests = self._name, usage.requests + 1
            pieces = self._generated(loaded, tokens, max_tokens, usage, first, deadline)
            with model_request(self._name, usage):
                usage.prompt_tokens += len(tokens)
                async with aclosing(pieces):
                    async for piece in pieces:
                        waited = (time.monotonic() - began) * 1000
                        usage.first_token_ms = usage.first_token_ms or waited
                        yield piece

    async def aclose(self) -> None:
        """End generation and free the memory, of the GPU too."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._worker, self._end)
        self._worker.shutdown(wait=False)

    async def _ready(self, limit: float) -> _Loaded:
        failed = self._loaded.exception() if self._loaded.done() else None
        if self._closed:
            raise ChatModelUnavailable(f"{self._name} is not loaded any more")
        if failed is not None and time.monotonic() - self._loaded_at > _RETRY_SECONDS:
            self._loaded = self._worker.submit(_load, self._settings)
            self._loaded_at = time.monotonic()
        waiting = asyncio.shield(asyncio.wrap_future(self._loaded))
        try:
            async with asyncio.timeout(limit - time.monotonic()):
                loaded = await waiting
                await asyncio.wrap_future(self._worker.submit(loaded.start))
                return loaded
        except TimeoutError as error:
            raise ChatModelUnavailable(f"{self._name} is still being loaded") from error

    async def _generated(
        self,
        loaded: _Loaded,
        tokens: list[int],
        max_tokens: int,
        usage: Usage,
        limit: float,
        deadline: float,
    ) -> AsyncGenerator[str, None]:
        """The text of one request, without thoughts.

        Raises:
            ChatModelUnavailable: See `ChatModel`.
            CompletionInvalid: There is no text.
        """
        thoughts, count, done, said = Thoughts(), 0, False, False
        decode = loaded.decoder()
        with loaded.asked(tokens, max_tokens) as outputs:
            while not done:
                output = await self._next(outputs, limit)
                limit, new = deadline, output.generated_tokens[count:]
                count += len(new)
                usage.completion_tokens += len(new)
                done = output.is_finished()
                if text := thoughts.feed("".join(decode(token) for token in new)):
                    said = True
                    yield text
        if rest := thoughts.close():
            said = True
            yield rest
        if not said:
            raise CompletionInvalid(
                f"{self._name} thought without answering: raise [chat_model] answer_tokens"
                if count >= max_tokens
                else f"{self._name} completed nothing"
            )

    async def _next(self, outputs: asyncio.Queue[Any], limit: float) -> Any:
        try:
            async with asyncio.timeout(limit - time.monotonic()):
                output = await outputs.get()
        except TimeoutError as error:
            raise ChatModelUnavailable(f"{self._name} took too long") from error
        if output.error is not None:
            raise ChatModelUnavailable(
                f"{self._name}: {_ADVICE if memory_fault(output.error) else output.error}"
            )
        return output

    def _end(self) -> None:
        if self._loaded.exception() is None:
            self._loaded.result().end()
        self._loaded = Future()
        self._loaded.set_exception(ChatModelUnavailable(f"{self._name} is not loaded any more"))


@dataclass(slots=True)
class _Loaded:
    """A model in memory, and the loop that generates with it."""

    model: Any
    tokenizer: Any
    context_tokens: int
    manager: Any = None

    def start(self) -> None:
        """Have the loop run, and answer once; after it broke, with a new cache.

        Raises:
            ChatModelUnavailable: There is no memory for its cache, or it cannot generate.
        """
        if self.manager is not None and self.manager.background_thread_status.fatal_error is None:
            return
        if self.manager is not None:
            self.end_loop()
        with _memory_faults("the chat model"):
            from transformers import ContinuousBatchingConfig

            on_cpu = self.model.device.type == "cpu"
            self.manager = self.model.init_continuous_batching(
                generation_config=self.model.generation_config,
                continuous_batching_config=ContinuousBatchingConfig(
                    max_memory_percent=CPU_CACHE if on_cpu else None
                ),
            )
            self.manager.start()
            self._warm_up()

    def _warm_up(self) -> None:
        """Have it say two tokens, which a customer would wait for: the loop takes its cache then.

        Raises:
            RuntimeError: It cannot.
        """
        prompt = (ChatMessage("system", "You are kind."), ChatMessage("user", "Hello"))
        name = self.manager.add_request(self.tokens_of(prompt), max_new_tokens=2, eos_token_id=-1)
        for output in self.manager.request_id_iter(name):
            if output.error is not None:
                raise RuntimeError(output.error)

    def tokens_of(self, prompt: Sequence[ChatMessage]) -> list[int]:
        """A prompt in the form that the model was trained on."""
        from jinja2 import TemplateError

        messages = [{"role": one.role, "content": one.text} for one in prompt]
        try:
            return self._templated(messages)
        except TemplateError:
            # Some models know no system: it is said by the first to speak.
            head, *rest = messages
            first = {"role": "user", "content": f"{head['content']}\n\n{rest[0]['content']}"}
            return self._templated([first, *rest[1:]])

    def _templated(self, messages: list[dict[str, str]]) -> list[int]:
        found: list[int] = self.tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            # Customers wait: models that can think before they answer are told not to.
            enable_thinking=False,
        )
        return found

    def decoder(self) -> Any:
        """A function from a token to the text that is certain with it; often empty."""
        from tokenizers.decoders import DecodeStream

        stream, backend = DecodeStream([], skip_special_tokens=True), self.tokenizer._tokenizer
        return lambda token: stream.step(backend, token) or ""

    @contextmanager
    def asked(self, tokens: list[int], max_tokens: int) -> Iterator[asyncio.Queue[Any]]:
        """A request's outputs as they come; leaving the block ends its generation."""
        name, outputs = uuid.uuid4().hex, asyncio.Queue[Any]()
        manager = self.manager
        manager.register_result_handler(name, outputs.put_nowait)
        try:
            taken = manager.add_request(
                tokens,
                request_id=name,
                max_new_tokens=max_tokens,
                streaming=True,
                eos_token_id=self.model.generation_config.eos_token_id,
            )
            if taken is None:
                raise ChatModelUnavailable("the chat model starts anew, try again")
            yield outputs
        finally:
            manager.cancel_request(name)
            # A request that was cancelled has no last output, which would remove it.
            with manager.output_router._lock:
                manager.output_router.result_handlers.pop(name, None)

    def end_loop(self) -> None:
        """Stop generating, and free the cache."""
        self.manager.stop(hard_stop=True)
        self.manager = None

    def end(self) -> None:
        """Free everything."""
        import gc

        import torch

        if self.manager is not None:
            self.end_loop()
        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def _memory_faults(name: str) -> Iterator[None]:
    """Errors of loading leave this as one line.

    Raises:
        ChatModelUnavailable: It cannot be loaded, for want of memory or otherwise.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError, ValueError) as error:
        lacks_memory = isinstance(error, MemoryError) or memory_fault(str(error))
        reason = _ADVICE if lacks_memory else (str(error).splitlines() or [""])[0]
        raise ChatModelUnavailable(f"{name} cannot be loaded: {reason}") from error


def _load(settings: ChatModelSettings) -> _Loaded:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cuda = torch.cuda.is_available()
    with _memory_faults(settings.model):
        model = AutoModelForCausalLM.from_pretrained(
            settings.model, dtype=torch.bfloat16 if cuda else "auto"
        )
        if settings.adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, settings.adapter).merge_and_unload()
        # Its stub takes the device for the model.
        model = model.to("cuda" if cuda else "cpu").eval()  # type: ignore[arg-type]
        tokenizer = AutoTokenizer.from_pretrained(settings.model)
    if tokenizer.chat_template is None:
        raise SettingsError(f"{settings.model} has no chat template: take its instruct version")
    config = model.generation_config
    # The same question gets the same answer; the loop has a cache of its own.
    config.do_sample, config.use_cache = False, False
    config.temperature = config.top_p = config.top_k = None
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    loaded = _Loaded(model, tokenizer, int(limit or settings.context_tokens))
    loaded.start()
    return loaded
