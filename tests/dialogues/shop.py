"""A shop whose bot carries out actions: its slots, its actions, and what customers say to it."""

from __future__ import annotations

import json
from typing import Any

from kfbot.actions.settings import ActionSettings
from kfbot.actions.slot_settings import SlotSettings
from kfbot.messages import OutboundMessage
from tests.dialogues.conftest import Stage

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ASK_ORDER = "Please tell me your order number; it looks like AB123456."
ASK_ORDER_ZH = "请告诉我您的订单号，格式如 AB123456。"
ASK_PHONE, ASK_PHONE_ZH = "Which phone number did you order with?", "下单时的手机号是多少？"
SLOTS = {
    "order_number": SlotSettings(
        pattern=r"[A-Z]{2}\d{6}",
        ask_en=(ASK_ORDER, "It is in the confirmation mail: two letters and six digits."),
        ask_zh=ASK_ORDER_ZH,
    ),
    "phone": SlotSettings(pattern=r"1\d{10}", ask_en=ASK_PHONE, ask_zh=ASK_PHONE_ZH, private=True),
    "refund_to": SlotSettings(
        choices={"card": "My card / 原卡", "balance": "Balance / 余额"},
        ask_en="Where shall the money go?",
        ask_zh="钱退到哪里？",
    ),
}


def actions(url: str, **changed: Any) -> dict[str, ActionSettings]:
    common: dict[str, Any] = {"url": url, "secret": SECRET, "timeout_seconds": 3}
    status = {
        "phrases": ("Where is my order?", "track my order", "我的订单到哪了", "查订单"),
        "slots": ("order_number", "phone"),
        "answer_en": "Order {{order_number}} is {order.status}, with {order.carrier}.",
        "answer_zh": "订单 {{order_number}} 的状态：{order.status}。",
        "empty_en": "I find no order {{order_number}} with that phone number.",
        "empty_zh": "没有查到订单 {{order_number}}。",
    }
    cancel = {
        "phrases": ("cancel my order", "取消订单"),
        "slots": ("order_number", "refund_to"),
        "confirm": True,
        "confirm_en": "Shall I cancel order {{order_number}}?",
        "answer_en": "Order {order.id} is cancelled.",
        "answer_zh": "订单 {order.id} 已取消。",
        "empty_en": "There is no such order.",
        "empty_zh": "没有这个订单。",
    }
    return {
        "order_status": ActionSettings(**common | status | changed),
        "cancel_order": ActionSettings(**common | cancel | changed),
    }


async def say(stage: Stage, *texts: str, **fields: Any) -> list[OutboundMessage]:
    """Let the customer write one message after the other; what the last one led to."""
    for text in texts:
        sent = await stage.customer_says(text, **fields)
    return sent


async def case_of(stage: Stage) -> Any:
    conversation = await stage.conversation()
    return await stage.application.conversations.open_case(conversation.id)


def proposing(action: Any, **slots: Any) -> str:
    """What a model writes that proposes an action."""
    return json.dumps({"action": action, "slots": slots}, ensure_ascii=False)
