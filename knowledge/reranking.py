"""Rerankers: a second look at the best passages, by a cross-encoder here or behind an endpoint.

Heavy libraries are imported where a model is opened, so that importing this module is cheap.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.embedding import weights_key
from knowledge.torch_models import torch_and_transformers

logger = logging.getLogger(__name__)

#: After a failure nothing is asked for so long; then one question at a time tries again.
PAUSE_SECONDS = 30.0
#: No model says more: the difference of two scores must be a number as well.
_LARGEST = 1e9
#: Of a passage so many characters are read.
READ_LENGTH = 4000


class Reranker(Protocol):
    """Scores how well texts answer a question: the higher the better, on a scale of its own."""

    @property
    def key(self) -> str:
        """Model and weights: scores under another key are not comparable."""

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a score for each text, in their order.

        Raises:
            KnowledgeBaseUnavailable: The model does not answer, or not with scores.
        """

    async def aclose(self) -> None:
        """Let go of the model."""


def open_reranker(
    model: str, *, api_key: str = "", report: Callable[[str], None] = lambda _: None
) -> Reranker:
    """Open what `[reranker] model` names: a folder, a Hugging Face name, or a URL.

    An endpoint is not asked before the first question. Blocks while a model is loaded.

    Args:
        model: A URL is an endpoint that answers `POST /rerank`: `https://host/v1#model-name`.
        report: Told what takes long, in words for a person.

    Raises:
        KnowledgeBaseUnavailable: The model is missing, or no reranker.
    """
    if model.startswith(("http://", "https://")):
        return RerankEndpoint(model, api_key=api_key)
    report(f"Loading the reranker {model}…")
    return CrossEncoder(model)


class CrossEncoder:
    """Any Hugging Face cross-encoder on torch; on the GPU if there is one.

    A score is the model's logit; of two classes, how much more likely the second one is.

    Raises:
        KnowledgeBaseUnavailable: torch is not installed, the model cannot be loaded, or it was
            never trained to score pairs of texts.
    """

    _MAX_TOKENS = 512
    _BATCH = 16

    def __init__(self, model: str) -> None:
        self._torch, transformers = torch_and_transformers(f"The reranker {model}")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            self._model, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
                model, dtype=self._torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise KnowledgeBaseUnavailable(
                f"The reranker {model} cannot be loaded ({type(error).__name__}): "
                "`[reranker] model` is a model folder or the name of a model on the hub."
            ) from error
        config = self._model.config
        # What an embedding model lacks is filled with chance, and would order by it.
        if loaded["missing_keys"] or config.num_labels > 2:
            raise KnowledgeBaseUnavailable(
                f"The model {model} is no reranker: name a cross-encoder with one score."
            )
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._model.to(self._device).eval()
        positions = getattr(config, "max_position_embeddings", None) or self._MAX_TOKENS
        self._tokens = min(self._MAX_TOKENS, self._tokenizer.model_max_length, positions)
        self.key = weights_key(model, getattr(config, "_commit_hash", None))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reranker")

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a score for each text, in their order.

        Raises:
            KnowledgeBaseUnavailable: The model failed.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._score, question, list(texts))
        except Exception as error:  # torch raises what it likes: out of memory, a lost GPU
            name = type(error).__name__
            raise KnowledgeBaseUnavailable(f"The reranker failed: {name}.") from error

    async def aclose(self) -> None:
        """Refuse what still waits, and end the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _score(self, question: str, texts: list[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), self._BATCH):
            scores += self._score_batch(question, texts[start : start + self._BATCH])
        return scores

    def _score_batch(self, question: str, texts: list[str]) -> list[float]:
        with self._torch.inference_mode():
            inputs = self._tokenizer(
                [question] * len(texts),
                texts,
                padding=True,
                truncation=True,
                max_length=self._tokens,
                return_tensors="pt",
            ).to(self._device)
            logits = self._model(**inputs).logits.float().cpu()
        scores: list[float] = (
            logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0)
        ).tolist()
        return scores


#: The body of a request for a question and texts.
_Form = Callable[[str, list[str]], dict[str, Any]]


class RerankEndpoint:
    """An endpoint that answers `POST /rerank`: `https://host/v1#model-name`.

    What Jina, Cohere, vLLM, Infinity, LiteLLM and llama.cpp have in common: `{"model", "query",
    "documents", "top_n"}` gives `{"results": [{"index", "relevance_score"}]}`. Where that is
    refused, the form of text-embeddings-inference: `{"query", "texts"}` gives `[{"index",
    "score"}]`.

    Raises:
        KnowledgeBaseUnavailable: The address is none.
    """

    #: Beyond this nobody waits, whatever the settings say.
    _TIMEOUT_SECONDS = 60.0
    #: A request of another form than the server knows.
    _REFUSED = (400, 422)

    def __init__(self, url: str, *, api_key: str = "") -> None:
        import httpx

        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise KnowledgeBaseUnavailable(
                "`[reranker] model` is not a URL: write https://host/v1#model-name."
            ) from error
        self._model = address.fragment
        place = str(address.copy_with(fragment=None)).rstrip("/")
        self._address = place if place.endswith("/rerank") else f"{place}/rerank"
        #: Without the password that an address may hold: it is shown and stored.
        self._shown = str(address.copy_with(username="", password="", query=None, fragment=None))
        self.key = f"{self._shown}#{self._model}"
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=self._TIMEOUT_SECONDS)
        #: The forms that the server may know.
        self._forms: tuple[_Form, ...] = (self._common, _plain)

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a score for each text, in their order.

        Raises:
            KnowledgeBaseUnavailable: The endpoint does not answer, or not with scores.
        """
        import httpx

        try:
            for form in self._forms:
                response = await self._client.post(self._address, json=form(question, list(texts)))
                if response.status_code not in self._REFUSED:
                    break
            response.raise_for_status()
            scores = _scores_in(response.json(), len(texts))
        except httpx.HTTPStatusError as error:
            raise self._failure(f"HTTP {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise self._failure(type(error).__name__) from error
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise self._failure("the reply has not one score a text") from error
        self._forms = (form,)
        return scores

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _common(self, question: str, texts: list[str]) -> dict[str, Any]:
        body = {"query": question, "documents": texts, "top_n": len(texts)}
        return {"model": self._model, **body} if self._model else body

    def _failure(self, reason: str) -> KnowledgeBaseUnavailable:
        return KnowledgeBaseUnavailable(
            f"The reranker {self._shown} failed: {reason}. "
            "Check `[reranker] model` and its API key."
        )


def _plain(question: str, texts: list[str]) -> dict[str, Any]:
    return {"query": question, "texts": texts, "truncate": True}


def _scores_in(reply: Any, count: int) -> list[float]:
    """The scores of a reply in the order of the texts.

    Raises:
        ArithmeticError, LookupError, TypeError, ValueError: There is not one for each text.
    """
    rows = reply["results"] if isinstance(reply, dict) else reply
    scores = {
        row["index"]: float(row["relevance_score"] if "relevance_score" in row else row["score"])
        for row in rows
    }
    if len(rows) != count:
        raise ValueError("not one score a text")
    return [scores[place] for place in range(count)]


class Reranking:
    """Asks a reranker, and does without it where it fails or is late.

    After a failure it is left alone for a while; the log says so once, and when it is back.
    """

    def __init__(
        self,
        reranker: Reranker,
        *,
        candidates: int,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare, without asking it anything.

        Args:
            candidates: So many of the best passages are scored.
            timeout_seconds: A question waits no longer for it.
        """
        self.candidates = candidates
        self._reranker = reranker
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._is_failing = False
        self._again_at = -math.inf

    @property
    def key(self) -> str:
        """The reranker's."""
        return self._reranker.key

    async def scores(self, question: str, texts: Sequence[str]) -> list[float] | None:
        """A score for each text, in their order; None: there are none now."""
        if (now := self._clock()) < self._again_at:
            return None
        if self._is_failing:
            # Others go on without it meanwhile.
            self._again_at = now + PAUSE_SECONDS
        try:
            found = await self._scores(question, texts)
        except KnowledgeBaseUnavailable as error:
            self._failed(error)
            return None
        self._worked()
        return found

    async def try_out(self) -> None:
        """Ask it something.

        Raises:
            KnowledgeBaseUnavailable: It does not answer in time, or not with scores.
        """
        await self._scores("?", ["one", "two"])

    async def _scores(self, question: str, texts: Sequence[str]) -> list[float]:
        read = [text[:READ_LENGTH] for text in texts]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = await self._reranker.score(question, read)
        except TimeoutError as error:
            late = f"The reranker took longer than {self._timeout_seconds:g} s."
            raise KnowledgeBaseUnavailable(late) from error
        # What is no number is not within it either.
        if len(found) != len(texts) or not all(abs(score) <= _LARGEST for score in found):
            raise KnowledgeBaseUnavailable("The reranker gave scores that are no numbers.")
        return found

    def _failed(self, error: KnowledgeBaseUnavailable) -> None:
        self._again_at = self._clock() + PAUSE_SECONDS
        if not self._is_failing:
            self._is_failing = True
            logger.warning(
                "%s Passages stay in the order they were found in; it is tried again from time to"
                " time.",
                error,
                extra={"event": "reranker_failed"},
            )

    def _worked(self) -> None:
        if self._is_failing:
            self._is_failing, self._again_at = False, -math.inf
            logger.info("the reranker answers again", extra={"event": "reranker_back"})
