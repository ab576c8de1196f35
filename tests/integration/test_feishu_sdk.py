"""Feishu's official SDK vouches for the stand-in, and so for what the adapter is tested against."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import pytest_asyncio

from adapters.feishu.adapter import FeishuAdapter
from adapters.feishu.events import meaning
from adapters.feishu.sealing import decrypt, sign
from adapters.feishu.settings import FeishuSettings
from kfbot.adapter import WebhookRequest
from kfbot.errors import WebhookRejected
from tests.platforms.feishu import (
    ANN,
    APP_ID,
    APP_SECRET,
    BOT,
    DIRECT,
    ENCRYPT_KEY,
    GROUP,
    VERIFICATION_TOKEN,
    Failure,
    Feishu,
)
from tests.platforms.feishu_forms import sealed

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest.fixture(scope="module")
def sdk() -> Any:
    """Some seconds go into its ten thousand modules."""
    # It opens an event loop when it is imported, for the thread that does so, and leaves it open.
    with ThreadPoolExecutor(1) as thread:
        imported = thread.submit(importlib.import_module, "lark_oapi").result()
    importlib.import_module("lark_oapi.ws.client").loop.close()
    return imported


@pytest.fixture(autouse=True)
def quiet_sdk(sdk: Any) -> Iterator[None]:
    """It logs what it refuses with a traceback."""
    log = logging.getLogger("Lark")
    level, log.level = log.level, logging.CRITICAL
    yield
    log.level = level


@pytest_asyncio.fixture
async def feishu() -> AsyncIterator[Feishu]:
    async with Feishu() as stand_in:
        yield stand_in


class Listener:
    """An app of the SDK's that keeps what it is told."""

    def __init__(self, sdk: Any, key: str, token: str = VERIFICATION_TOKEN) -> None:
        from lark_oapi.event.callback.model.p2_card_action_trigger import (
            P2CardActionTriggerResponse,
        )

        self.heard: list[Any] = []

        def press(event: Any) -> Any:
            self.heard.append(event)
            return P2CardActionTriggerResponse({})

        builder = sdk.EventDispatcherHandler.builder(key, token)
        builder = builder.register_p2_im_message_receive_v1(self.heard.append)
        builder = builder.register_p2_im_message_recalled_v1(self.heard.append)
        self._handler = builder.register_p2_card_action_trigger(press).build()

    def tell(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """Status and answer to a request."""
        from lark_oapi.core.model import RawRequest

        request = RawRequest()
        request.uri, request.body = "/", body
        # As a web framework hands them on.
        request.headers = {name.title(): value for name, value in headers.items()}
        response = self._handler.do(request)
        return response.status_code, json.loads(response.content)


def adapter_of(feishu: Feishu, **change: Any) -> FeishuAdapter:
    section = {"platform": "feishu", "api_base": "http://127.0.0.1:9"} | feishu.section(**change)
    return FeishuAdapter("shop", FeishuSettings.model_validate(section))


def request_of(body: bytes, headers: dict[str, str]) -> WebhookRequest:
    return WebhookRequest(method="POST", query={}, headers=headers, body=body)


# --- what Feishu sends ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [ENCRYPT_KEY, "", "密钥-with-中文"])
async def test_the_sdk_verifies_and_decrypts_what_the_stand_in_sends(
    sdk: Any, feishu: Feishu, key: str
) -> None:
    app = Listener(sdk, key)
    told = feishu.says("@bot 怎么退款 😀", GROUP, topic=True)
    assert app.tell(*sealed(told, key))[0] == 200
    message = app.heard[0].event.message
    # Every field that we read is where the SDK looks for it.
    read = meaning(told, "shop", BOT)
    assert read is not None
    event: Any = read.event
    assert (message.message_id, message.chat_id) == (event.message_id, event.conversation.chat)
    assert (message.chat_type, message.message_type) == ("group", "text")
    assert message.thread_id.startswith("omt_")
    assert message.mentions[0].id.open_id == BOT
    assert app.heard[0].event.sender.sender_id.open_id == event.sender.id == ANN
    assert app.heard[0].header.event_id == told["header"]["event_id"]
    assert (event.text, event.addressed_to_bot) == ("怎么退款 😀", True)


async def test_the_sdk_knows_a_recall_and_a_press_of_the_stand_in(sdk: Any, feishu: Feishu) -> None:
    app = Listener(sdk, ENCRYPT_KEY)
    asked = feishu.says("hello")
    card = {
        "config": {"update_multi": True},
        "elements": [
            {"tag": "action", "actions": [{"text": {"content": "Yes"}, "value": {"kfbot": "t"}}]}
        ],
    }
    offer = feishu._keep(BOT, DIRECT, {"msg_type": "interactive", "content": json.dumps(card)})
    assert app.tell(*sealed(feishu.recalls(asked), ENCRYPT_KEY)) == (200, {"msg": "success"})
    # What the adapter answers to a press is what the SDK answers.
    assert app.tell(*sealed(feishu.presses(offer, "Yes"), ENCRYPT_KEY)) == (200, {})
    recall, press = app.heard
    assert recall.event.message_id == asked["event"]["message"]["message_id"]
    assert press.event.operator.open_id == ANN
    assert press.event.action.value == {"kfbot": "t"}
    assert press.event.context.open_chat_id == DIRECT


@pytest.mark.parametrize("key", [ENCRYPT_KEY, ""])
async def test_the_sdk_and_the_adapter_answer_a_trial_alike(
    sdk: Any, feishu: Feishu, key: str
) -> None:
    body, headers = sealed(feishu.trial(), key)
    reply = await adapter_of(feishu, encrypt_key=key or None).receive_webhook(
        request_of(body, headers)
    )
    assert Listener(sdk, key).tell(body, headers) == (reply.status, json.loads(reply.body))


@pytest.mark.parametrize("broken", ["body", "signature", "nonce", "key", "token"])
async def test_what_the_sdk_refuses_the_adapter_refuses_too(
    sdk: Any, feishu: Feishu, broken: str
) -> None:
    event = feishu.says("hello")
    if broken == "token":
        event["header"]["token"] = "another"
    body, headers = sealed(event, "another key" if broken == "key" else ENCRYPT_KEY)
    if broken == "body":
        body += b" "
    elif broken in ("signature", "nonce"):
        name = {"signature": "x-lark-signature", "nonce": "x-lark-request-nonce"}[broken]
        headers[name] = "0" * len(headers[name])
    assert Listener(sdk, ENCRYPT_KEY).tell(body, headers)[0] == 500
    with pytest.raises(WebhookRejected) as raised:
        await adapter_of(feishu).receive_webhook(request_of(body, headers))
    assert raised.value.status == 401


async def test_the_example_in_feishus_documentation_is_decrypted() -> None:
    example = "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="
    assert decrypt("test key", example) == b"hello world"


async def test_what_the_adapter_expects_for_a_signature_the_sdk_takes(
    sdk: Any, feishu: Feishu
) -> None:
    body, headers = sealed(feishu.says("hello"), ENCRYPT_KEY)
    stamp, nonce = headers["x-lark-request-timestamp"], "n" * 200
    headers |= {
        "x-lark-request-nonce": nonce,
        "x-lark-signature": sign(ENCRYPT_KEY, stamp, nonce, body),
    }
    assert Listener(sdk, ENCRYPT_KEY).tell(body, headers)[0] == 200


# --- what a bot calls ----------------------------------------------------------------------------


@pytest.fixture
def client(sdk: Any, feishu: Feishu, monkeypatch: pytest.MonkeyPatch) -> Any:
    from lark_oapi.core.cache import LocalCache
    from lark_oapi.core.token.manager import TokenManager

    # The SDK keeps tokens for the whole process, by app.
    monkeypatch.setattr(TokenManager, "cache", LocalCache())
    builder = sdk.Client.builder().app_id(APP_ID).app_secret(APP_SECRET)
    return builder.domain(feishu.api_base).timeout(10).build()


async def test_the_sdks_client_can_write_reply_change_and_read(
    sdk: Any, client: Any, feishu: Feishu
) -> None:
    from lark_oapi.api.im import v1

    messages = client.im.v1.message
    asked = feishu.says("hello", GROUP)["event"]["message"]["message_id"]
    card = json.dumps({"config": {"update_multi": True}, "elements": []})
    body = v1.CreateMessageRequestBody.builder().receive_id(GROUP).msg_type("text")
    body = body.content('{"text": "Hi"}').uuid("once").build()
    create = v1.CreateMessageRequest.builder().receive_id_type("chat_id").request_body(body)
    written = await asyncio.to_thread(messages.create, create.build())
    again = await asyncio.to_thread(messages.create, create.build())
    assert written.success()
    assert written.data.message_id == again.data.message_id
    reply = v1.ReplyMessageRequestBody.builder().msg_type("interactive").content(card)
    reply = reply.reply_in_thread(True).uuid("twice").build()
    under = v1.ReplyMessageRequest.builder().message_id(asked).request_body(reply).build()
    answer = (await asyncio.to_thread(messages.reply, under)).data
    assert (answer.parent_id, answer.root_id, answer.chat_id) == (asked, asked, GROUP)
    assert answer.thread_id
    change = v1.PatchMessageRequestBody.builder().content(card).build()
    patch = v1.PatchMessageRequest.builder().message_id(answer.message_id).request_body(change)
    assert (await asyncio.to_thread(messages.patch, patch.build())).success()
    get = v1.GetMessageRequest.builder().message_id(answer.message_id).build()
    [found] = (await asyncio.to_thread(messages.get, get)).data.items
    assert (found.sender.id, found.sender.sender_type) == (APP_ID, "app")


async def test_the_sdks_client_reads_files_and_refusals(
    sdk: Any, client: Any, feishu: Feishu
) -> None:
    from lark_oapi.api.im import v1

    feishu.files["file_1"] = b"\x89PNG"
    asked = feishu.says("hello")["event"]["message"]["message_id"]
    get = v1.GetMessageResourceRequest.builder().message_id(asked).type("file")
    resource = client.im.v1.message_resource
    file = await asyncio.to_thread(resource.get, get.file_key("file_1").build())
    assert file.file.read() == b"\x89PNG"
    none = await asyncio.to_thread(resource.get, get.file_key("file_2").build())
    assert (none.success(), none.code) == (False, 234003)
    feishu.failures["get"].append(Failure(99991400, "request trigger frequency limit", 429))
    read = v1.GetMessageRequest.builder().message_id(asked).build()
    assert (await asyncio.to_thread(client.im.v1.message.get, read)).code == 99991400


async def test_the_sdk_finds_out_who_the_bot_is(sdk: Any, client: Any, feishu: Feishu) -> None:
    from lark_oapi.channel.bot_identity import fetch_bot_identity

    # It asks for its token in a way that stops the loop, which the stand-in needs.
    identity = await asyncio.to_thread(asyncio.run, fetch_bot_identity(client._config))
    assert identity is not None
    assert (identity.open_id, identity.name) == (BOT, "kfbot")
