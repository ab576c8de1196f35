"""The chat model of the settings."""

from __future__ import annotations

from kfbot.chat_model import ChatModel
from kfbot.model.endpoint import Endpoint
from kfbot.model_settings import ChatModelSettings


def open_chat_model(settings: ChatModelSettings) -> ChatModel | None:
    """The chat model of the settings; None: there is none."""
    return Endpoint(settings, settings) if settings.base_url else None
