"""`[embedding]` and `[reranker]`: which models the knowledge base works with."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


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
