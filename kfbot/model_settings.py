"""`[embedding]`, `[reranker]`, `[chat_model]`: which models the bot works with."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator


class Section(BaseModel):
    """A section of the settings: a typo in a name is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddingSettings(Section):
    """`[embedding]`: the model that turns texts into vectors."""

    #: "bundled", a folder, a Hugging Face name, or the URL of an OpenAI-compatible endpoint.
    model: str = "bundled"
    api_key: SecretStr = SecretStr("")


class RerankerSettings(Section):
    """`[reranker]`: a model that looks at the best passages again and orders them."""

    #: A folder, a Hugging Face name, or the URL of an endpoint that answers POST …/rerank, with
    #: the model's name behind "#"; empty: none.
    model: str = ""
    api_key: SecretStr = SecretStr("")
    #: A question waits no longer for it; passages then stay in the order they were found in.
    timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    #: So many of the best passages are looked at.
    candidates: int = Field(default=10, ge=2, le=100)

    @model_validator(mode="after")
    def _have_a_model(self) -> Self:
        if self.model_fields_set - {"model"} and not self.model:
            raise ValueError("model is missing: the other settings are about that reranker")
        return self


def _api_address(url: str) -> str:
    """An address as it is, without a slash at its end.

    Raises:
        ValueError: It is none, or holds a password.
    """
    parts = urlsplit(url)
    if not url or (
        parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    ):
        return url.rstrip("/")
    raise ValueError("write http://HOST:PORT/v1, the key into api_key")


class EndpointSettings(Section):
    """One OpenAI-compatible endpoint: vLLM, SGLang, `kfbot model serve`, Ollama, a vendor."""

    #: As in http://127.0.0.1:8000/v1.
    base_url: Annotated[str, AfterValidator(_api_address)] = ""
    #: As the endpoint calls it; empty: the only one that it has.
    model: str = ""
    api_key: SecretStr = SecretStr("")


class ChatModelSettings(EndpointSettings):
    """`[chat_model]`: the model that writes answers; without one they are quoted.

    Without base_url `model` is a folder or a Hugging Face name, loaded into this process.
    """

    #: A folder that `kfbot model tune` made, for a model in this process.
    adapter: str = ""
    #: Further endpoints, asked in this order while those before them do not answer.
    fallbacks: tuple[EndpointSettings, ...] = ()
    #: For a whole completion.
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    #: Until its first token; an endpoint that takes longer is taken for dead.
    first_token_seconds: float = Field(default=10.0, gt=0, le=600)
    #: Completions at the same time; further ones wait for their turn …
    parallel: int = Field(default=32, ge=1, le=1000)
    #: … so long; then the customer gets the quoted answer.
    queue_seconds: float = Field(default=5.0, gt=0, le=600)
    #: Tokens that a prompt and its completion may have together.
    context_tokens: int = Field(default=8192, ge=512, le=2_000_000)
    #: The longest answer.
    answer_tokens: int = Field(default=512, ge=16, le=8192)
    #: Of all channels together, by UTC day; 0: no limit. A channel may have one of its own.
    tokens_per_day: int = Field(default=0, ge=0)
    #: Whether the model is asked if a sentence says what its passage says, after all else was
    #: checked: where the two are in different languages, always, or never.
    judge: Literal["cross_language", "always", "never"] = "cross_language"
    #: Show an answer as it grows, where the platform can.
    stream: bool = True

    @model_validator(mode="after")
    def _have_a_model(self) -> Self:
        if self.model_fields_set - {"base_url", "model"} and not (self.base_url or self.model):
            raise ValueError("base_url is missing: the other settings are about that endpoint")
        if any(not one.base_url for one in self.fallbacks):
            raise ValueError("fallbacks: base_url is missing")
        if self.fallbacks and not self.base_url:
            raise ValueError("fallbacks: they stand behind an endpoint, and base_url is missing")
        if self.adapter and self.base_url:
            raise ValueError("adapter: an endpoint has its own; kfbot model serve --adapter FOLDER")
        return self


class AnswerSettings(Section):
    """`[answers]`: how the chat model writes."""

    #: What the bot calls itself.
    name: Annotated[str, Field(max_length=60)] = ""
    #: In a few words, as in "warm and brief"; "您" for customers is a tone too.
    tone: Annotated[str, Field(max_length=200)] = ""
    length: Literal["short", "normal", "detailed"] = "normal"
