"""Embedding models: texts to vectors, by the bundled model, torch, or an endpoint.

Heavy libraries are imported where a model is opened, so that importing this module is cheap.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.torch_models import torch_and_transformers

if TYPE_CHECKING:
    import httpx

BUNDLED = "bundled"
#: Vectors of questions that are remembered; 1,000 take 1.5 MB.
REMEMBERED = 1000


class Embedder(Protocol):
    """What loading and retrieval ask of an embedding model.

    Both methods return L2-normalised rows (texts, dimensions), block, and may be called from
    several threads at once.

    Raises:
        KnowledgeBaseUnavailable: The model does not answer now.
    """

    @property
    def key(self) -> str:
        """Model, weights and builder: vectors under another key are not comparable."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of questions, one row each."""

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages, one row each."""


def _ignore(message: str) -> None:
    """Report to nobody."""


def open_embedder(
    model: str,
    cache_dir: Path,
    *,
    api_key: str = "",
    report: Callable[[str], None] = _ignore,
) -> Embedder:
    """Open what `[embedding] model` names: "bundled", a folder, a Hugging Face name, or a URL.

    Args:
        model: A URL is an OpenAI-compatible endpoint: `https://host/v1#model-name`.
        cache_dir: Where the bundled model keeps what it prepares.
        report: Told what takes long, in words for a person.

    Raises:
        KnowledgeBaseUnavailable: The model is missing or does not answer.
    """
    if model == BUNDLED:
        from knowledge.e5.embedder import E5Embedder

        return E5Embedder.open(cache_dir, report)
    if model.startswith(("http://", "https://")):
        return EndpointEmbedder(model, api_key=api_key)
    report(f"Loading the embedding model {model}…")
    return HuggingFaceEmbedder(model)


class _Prefixes:
    """What a model was trained to have before each text: as its folder says, or as e5 has it."""

    def __init__(self, model: str) -> None:
        is_e5 = "e5" in model.lower()
        self.query, self.passage = ("query: ", "passage: ") if is_e5 else ("", "")
        try:
            # As sentence-transformers keeps them.
            said = (Path(model) / "config_sentence_transformers.json").read_text("utf-8")
            prompts = json.loads(said)["prompts"]
            self.query = str(prompts["query"])
            self.passage = str(prompts.get("passage", prompts.get("document", "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return


class HuggingFaceEmbedder:
    """Any Hugging Face encoder on torch, mean-pooled; on the GPU if there is one.

    Raises:
        KnowledgeBaseUnavailable: torch is not installed, or the model cannot be loaded.
    """

    _MAX_TOKENS = 512
    _BATCH = 32

    def __init__(self, model: str) -> None:
        self._torch, transformers = torch_and_transformers(f"The embedding model {model}")
        on_gpu = self._torch.cuda.is_available()
        self._device = "cuda" if on_gpu else "cpu"
        dtype = self._torch.bfloat16 if on_gpu else self._torch.float32
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            self._model = transformers.AutoModel.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError) as error:
            raise KnowledgeBaseUnavailable(
                f"The embedding model {model} cannot be loaded ({type(error).__name__}): "
                "`[embedding] model` is a model folder or the name of a model on the hub."
            ) from error
        self._model.to(self._device).eval()
        self._prefixes = _Prefixes(model)
        self.dimensions = int(self._model.config.hidden_size)
        self.key = weights_key(model, getattr(self._model.config, "_commit_hash", None))

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of questions, one row each."""
        return self._embed([self._prefixes.query + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages, one row each."""
        return self._embed([self._prefixes.passage + text for text in texts])

    def _embed(self, marked: list[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(marked), self.dimensions), np.float32)
        # Neighbours of like length waste no work on padding.
        order = sorted(range(len(marked)), key=lambda index: len(marked[index]))
        for start in range(0, len(order), self._BATCH):
            chosen = order[start : start + self._BATCH]
            vectors[chosen] = self._embed_batch([marked[index] for index in chosen])
        return _normalised(vectors)

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            inputs = self._tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=self._MAX_TOKENS,
                return_tensors="pt",
            ).to(self._device)
            states = self._model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return np.asarray(means.cpu().numpy(), dtype=np.float32)


def weights_key(model: str, commit: str | None) -> str:
    """A hub model is known by its commit, a folder by the content of its weights."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{commit or 'unknown'}"
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{folder.resolve().name}@{digest.hexdigest()[:12]}"


class EndpointEmbedder:
    """An OpenAI-compatible embedding endpoint: `https://host/v1#model-name`.

    Raises:
        KnowledgeBaseUnavailable: The endpoint does not answer, or not with vectors.
    """

    _BATCH = 32
    _TRIES = 3
    _TIMEOUT_SECONDS = 30.0

    def __init__(
        self, url: str, *, api_key: str = "", pause: Callable[[float], None] = time.sleep
    ) -> None:
        import httpx

        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise KnowledgeBaseUnavailable(
                "`[embedding] model` is not a URL: write https://host/v1#model-name."
            ) from error
        self._model = address.fragment
        self._address = str(address.copy_with(fragment=None)).rstrip("/") + "/embeddings"
        #: Without the password that an address may hold: it is shown and stored.
        self._shown = str(address.copy_with(username="", password="", query=None, fragment=None))
        self._pause = pause
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, timeout=self._TIMEOUT_SECONDS)
        self._prefixes = _Prefixes(self._model)
        try:
            self.dimensions = len(self._request(["?"])[0])
        except KnowledgeBaseUnavailable:
            self.close()
            raise
        self.key = f"{self._shown}#{self._model}:{self.dimensions}"

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of questions, one row each."""
        return self._embed(self._prefixes.query + text for text in texts)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages, one row each."""
        return self._embed(self._prefixes.passage + text for text in texts)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed(self, marked: Iterable[str]) -> NDArray[np.float32]:
        texts = [text if text.strip() else "?" for text in marked]  # endpoints refuse empty texts
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), self._BATCH):
            batch = self._request(texts[start : start + self._BATCH])
            if batch.shape[1] != self.dimensions:
                raise self._failure("its vectors changed their length")
            vectors[start : start + self._BATCH] = batch
        return _normalised(vectors)

    def _request(self, texts: list[str]) -> NDArray[np.float32]:
        body: dict[str, Any] = {"input": texts, "encoding_format": "float"}
        if self._model:
            body["model"] = self._model
        response = self._post(body)
        if response.is_error:
            raise self._failure(f"HTTP {response.status_code}")
        try:
            rows = sorted(response.json()["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._failure("the reply holds no vectors") from error
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise self._failure("the reply has not one vector a text")
        return vectors

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        import httpx

        for attempt in range(1, self._TRIES + 1):
            try:
                response = self._client.post(self._address, json=body)
            except httpx.HTTPError as error:
                if attempt == self._TRIES:
                    raise self._failure(type(error).__name__) from error
            else:
                passing = response.status_code == 429 or response.status_code >= 500
                if attempt == self._TRIES or not passing:
                    return response
            jitter = random.uniform(0.5, 1.5)  # noqa: S311 (spreads retries, guards nothing)
            self._pause(0.5 * 2 ** (attempt - 1) * jitter)
        raise AssertionError("the last try returns or raises")

    def _failure(self, reason: str) -> KnowledgeBaseUnavailable:
        return KnowledgeBaseUnavailable(
            f"The embedding endpoint {self._shown} failed: {reason}. "
            "Check `[embedding] model` and its API key."
        )


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


class BatchingEmbedder:
    """The asynchronous front of an embedder: questions that wait together go as one batch.

    An idle front starts at once; what arrives while the thread works is the next batch. Those
    who asked are woken one after the other: if all went on at once, nothing else could meanwhile.
    The last vectors are remembered: a conversation's messages come up again with each new one.
    """

    def __init__(self, embedder: Embedder, *, max_batch: int = 16) -> None:
        self._embedder = embedder
        self._max_batch = max_batch
        self._waiting: deque[tuple[str, asyncio.Future[NDArray[np.float32]]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._closed = False
        #: By text, the one that was asked for last at the end.
        self._known: dict[str, NDArray[np.float32]] = {}

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of one question.

        Raises:
            KnowledgeBaseUnavailable: The model failed, or the front is closed.
        """
        if self._closed:
            raise KnowledgeBaseUnavailable("The embedding model is closed.")
        if (vector := self._known.pop(text, None)) is None:
            # A copy, or the whole batch would be kept.
            vector = (await self._embedded(text)).copy()
        self._known[text] = vector
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return vector

    async def _embedded(self, text: str) -> NDArray[np.float32]:
        answer: asyncio.Future[NDArray[np.float32]]
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((text, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def aclose(self) -> None:
        """Let the running batch end, refuse what still waits, and end the thread."""
        self._closed = True
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(KnowledgeBaseUnavailable("The embedding model is closed."))
        if self._worker is not None:
            await asyncio.wait([self._worker])
        self._thread.shutdown()  # its only work has ended, so this does not wait

    async def _work(self) -> None:
        waking: asyncio.Task[None] | None = None
        try:
            while (batch := self._take_batch()) or waking is not None:
                answers = await self._embed([text for text, _ in batch]) if batch else []
                if waking is not None:
                    await waking
                asked = [answer for _, answer in batch]
                waking = asyncio.create_task(_wake(asked, answers)) if batch else None
        finally:
            self._worker = None

    def _take_batch(self) -> list[tuple[str, asyncio.Future[NDArray[np.float32]]]]:
        batch: list[tuple[str, asyncio.Future[NDArray[np.float32]]]] = []
        while self._waiting and len(batch) < self._max_batch:
            text, answer = self._waiting.popleft()
            if not answer.done():  # its caller has gone
                batch.append((text, answer))
        return batch

    async def _embed(self, texts: list[str]) -> Sequence[NDArray[np.float32] | Exception]:
        loop = asyncio.get_running_loop()
        try:
            return list(
                await loop.run_in_executor(self._thread, self._embedder.embed_queries, texts)
            )
        except Exception as error:  # whatever it is, it belongs to those who asked
            return [error] * len(texts)


async def _wake(
    waiting: Sequence[asyncio.Future[NDArray[np.float32]]],
    answers: Sequence[NDArray[np.float32] | Exception],
) -> None:
    for asked, answer in zip(waiting, answers, strict=True):
        if asked.done():
            continue
        if isinstance(answer, Exception):
            asked.set_exception(answer)
        else:
            asked.set_result(answer)
        await asyncio.sleep(0)
