"""`[actions.<name>]`: what the bot asks the operator's own system, and says of its answer."""

from __future__ import annotations

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from standardwebhooks import Webhook

from kfbot.actions.slot_settings import SlotName
from kfbot.conversation import Language
from kfbot.model_settings import Section

#: `{{order_number}}`: a slot.
# Blanks are never given back: each way to share them out among three would be tried.
SLOT = re.compile(r"\{\{\s*+([^{}]*?)\s*+\}\}")
#: `{order.status}`: a field of the answer; names and places in lists, with dots between.
FIELD = re.compile(r"(?<!\{)\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}(?!\})")
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]+={0,2}")


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
        raise ValueError("the name of an action has letters, digits and _ only")
    return name


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("write an http or https address without a password")
    return url


ActionName = Annotated[str, AfterValidator(_name)]
_Text = Annotated[str, Field(min_length=1, max_length=2000)]
_Phrase = Annotated[str, Field(min_length=2, max_length=80)]


class ActionSettings(Section):
    """`[actions.order_status]`: begun by its phrases, carried out by the operator's own system."""

    #: What customers write to have it done, in every language they write; each is a whole wish.
    phrases: Annotated[tuple[_Phrase, ...], Field(min_length=1, max_length=100)]
    #: What must be known first, in the order in which it is asked for.
    slots: Annotated[tuple[SlotName, ...], Field(max_length=8)] = ()
    #: Where it is posted to; http and private addresses too.
    url: Annotated[str, AfterValidator(_address)] = Field(repr=False)
    #: `whsec_` and base64, as the Standard Webhooks spec has it: requests are signed with it.
    secret: SecretStr
    #: The customer waits no longer than this, whatever is tried again meanwhile.
    timeout_seconds: float = Field(default=5.0, gt=0, le=20)
    #: Requests at the same time; further ones wait, within the time.
    parallel: int = Field(default=8, ge=1, le=1000)
    #: A chat model, if there is one, may say that a customer means this, who is then asked;
    #: false: nothing but its phrases stands for it.
    by_model: bool = True
    #: Ask "shall I?" first: for what changes something.
    confirm: bool = False
    #: The words of that question; empty: the bot's own.
    confirm_en: Annotated[str, Field(max_length=1000)] = ""
    confirm_zh: Annotated[str, Field(max_length=1000)] = ""
    #: What is said of the answer: {order.status} is its field, {{order_number}} a slot.
    answer_en: _Text
    answer_zh: _Text
    #: Said where nothing was found.
    empty_en: _Text
    empty_zh: _Text
    #: Said where it could not be done, and a person is got; empty: the bot's own words.
    failure_en: Annotated[str, Field(max_length=1000)] = ""
    failure_zh: Annotated[str, Field(max_length=1000)] = ""
    #: What is no value is asked for again; after so many a person is got.
    most_wrong: int = Field(default=3, ge=1, le=10)
    #: After so long without a word of the customer's it is given up, and values are forgotten.
    expires_minutes: int = Field(default=30, ge=1, le=1440)

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr) -> SecretStr:
        # The library drops what is not base64 and signs with what is left, whatever that is.
        if not _SECRET.fullmatch(text := secret.get_secret_value()):
            raise ValueError("must be whsec_ followed by base64")
        try:
            Webhook(text)
        except Exception:
            raise ValueError("must be whsec_ followed by base64") from None
        return secret

    @model_validator(mode="after")
    def _name_their_slots(self) -> Self:
        if len(set(self.slots)) < len(self.slots):
            raise ValueError("slots: one is named twice")
        for setting in ("confirm", "answer", "empty", "failure"):
            for language in ("en", "zh"):
                _check_template(
                    f"{setting}_{language}", getattr(self, f"{setting}_{language}"), self
                )
        if not self.confirm and (self.confirm_en or self.confirm_zh):
            raise ValueError("confirm_en, confirm_zh: nothing is asked unless confirm = true")
        return self

    def text(self, kind: str, language: Language) -> str:
        """The words of this kind (answer, empty, failure, confirm) in a language."""
        text: str = getattr(self, f"{kind}_{language}")
        return text.strip()


def _check_template(setting: str, text: str, action: ActionSettings) -> None:
    for name in SLOT.findall(text):
        if name not in action.slots:
            raise ValueError(f"{setting}: {{{{{name}}}}} is none of its slots")
    rest = FIELD.sub("", SLOT.sub("", text))
    if not setting.startswith("answer") and FIELD.search(text):
        raise ValueError(f"{setting}: there is no answer to take fields from")
    if "{" in rest or "}" in rest:
        raise ValueError(f"{setting}: write {{field.name}} or {{{{slot}}}}")
