"""`[privacy]`: how long what customers said is kept, and what of it is masked."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kfbot.knowledge_settings import PrivateKinds
from kfbot.model_settings import Section


class PrivacySettings(Section):
    """Holds for every channel; `[channels.<name>] keep_conversations_days` goes before it."""

    #: Conversations go so many days after the last word in them, with all that hangs on them;
    #: 0: they are kept for ever.
    keep_conversations_days: int = Field(default=0, ge=0, le=36_500)
    #: Private data masked in what is stored of conversations: kinds, or "default", as in
    #: `[knowledge.<name>] mask`. "none": nothing is masked.
    mask: PrivateKinds | Literal["none"] = "none"
    #: So many days after the last word in a conversation that no agent has.
    mask_after_days: int = Field(default=30, ge=0, le=36_500)

    @model_validator(mode="after")
    def _mask_something(self) -> Self:
        if "mask_after_days" in self.model_fields_set and self.mask in ("none", ()):
            raise ValueError('mask_after_days: nothing is masked while mask is "none"')
        return self

    @property
    def masked_kinds(self) -> PrivateKinds:
        """What is masked; empty: nothing."""
        return () if self.mask == "none" else self.mask
