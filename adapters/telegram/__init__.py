"""Telegram, by its Bot API: private chats, groups and topics."""

from adapters.telegram.adapter import TelegramAdapter

__all__ = ["TelegramAdapter"]

ADAPTER = TelegramAdapter
