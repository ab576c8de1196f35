"""What Feishu sends: who may send it, and what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.feishu.events import meaning
from adapters.feishu.sealing import EARLIEST_SECONDS, OLDEST_SECONDS, Seal, decrypt
from adapters.feishu.settings import FeishuSettings
from adapters.feishu.wording import address_of, named, read
from kfbot.adapter import WebhookRequest
from kfbot.errors import WebhookRejected
from kfbot.messages import Attachment, MessageReceived
from tests.platforms.feishu_forms import encrypt, seal, sealed

KEY, TOKEN = "an-encrypt-key", "a-verification-token"
NOW = 1_795_334_400
BOT, ANN = "ou_bot", "ou_ann"
EVENT: dict[str, Any] = {"header": {"event_id": "ev_1", "event_type": "x", "token": TOKEN}}
TRIAL = {"type": "url_verification", "challenge": "c", "token": TOKEN}


def settings(**change: Any) -> FeishuSettings:
    given = {"platform": "feishu", "app_id": "cli_1", "app_secret": "s", "encrypt_key": KEY}
    return FeishuSettings.model_validate(given | {"verification_token": TOKEN} | change)


def open_sealed(body: bytes, headers: dict[str, str], **change: Any) -> dict[str, Any]:
    request = WebhookRequest(method="POST", query={}, headers=headers, body=body)
    return Seal("shop", settings(**change), now=lambda: float(NOW)).open(request)


def refusal(body: bytes, headers: dict[str, str], **change: Any) -> tuple[int, str]:
    with pytest.raises(WebhookRejected) as raised:
        open_sealed(body, headers, **change)
    return raised.value.status, str(raised.value)


# --- who sent it ---------------------------------------------------------------------------------


def test_a_signed_and_encrypted_request_is_opened() -> None:
    assert open_sealed(*sealed(EVENT, KEY, at=NOW)) == EVENT


def test_the_signature_is_over_the_bytes_that_came() -> None:
    body, headers = sealed(EVENT, KEY, at=NOW)
    spaced = json.dumps(json.loads(body), indent=1).encode()
    assert refusal(spaced, headers)[0] == 401


@pytest.mark.parametrize(
    ("age", "is_taken"),
    [
        (0, True),
        (OLDEST_SECONDS, True),
        (OLDEST_SECONDS + 1, False),
        (-EARLIEST_SECONDS, True),
        (-EARLIEST_SECONDS - 1, False),
    ],
)
def test_a_request_is_taken_as_long_as_feishu_repeats_it(age: int, is_taken: bool) -> None:
    request = sealed(EVENT, KEY, at=NOW - age)
    if is_taken:
        assert open_sealed(*request) == EVENT
    else:
        assert refusal(*request)[0] == 401


@pytest.mark.parametrize("header", ["x-lark-request-timestamp", "x-lark-request-nonce"])
@pytest.mark.parametrize("value", ["", "1e9", "９", "\ud800", "-1"])
def test_headers_that_were_changed_are_refused(header: str, value: str) -> None:
    body, headers = sealed(EVENT, KEY, at=NOW)
    assert refusal(body, headers | {header: value})[0] == 401


@pytest.mark.parametrize("signature", ["", "0", "0" * 64, "é" * 64, "\udcff"])
def test_a_wrong_signature_is_refused(signature: str) -> None:
    body, headers = sealed(EVENT, KEY, at=NOW)
    assert refusal(body, headers | {"x-lark-signature": signature})[0] == 401


def test_without_a_signature_only_a_trial_is_opened() -> None:
    unsigned, headers = seal(json.dumps(EVENT).encode(), KEY, is_trial=True)
    assert refusal(unsigned, headers)[0] == 401
    assert open_sealed(*sealed(TRIAL, KEY)) == TRIAL


def test_what_is_not_encrypted_needs_a_signature_where_there_is_a_key() -> None:
    for plain in (EVENT, TRIAL):
        assert refusal(json.dumps(plain).encode(), {})[0] == 401


def test_an_unsigned_request_learns_nothing_of_what_is_inside() -> None:
    said = {
        refusal(json.dumps({"encrypt": inside}).encode(), {})
        for inside in ("", "AAAA", "!", encrypt(b"x" * 40, "other"), encrypt(b"not json", KEY), 7)
    }
    assert len(said) == 1
    assert said.pop()[0] == 401


def test_with_a_token_alone_it_is_compared() -> None:
    plain, headers = sealed(EVENT, "")
    assert open_sealed(plain, headers, encrypt_key=None) == EVENT
    for wrong in ("another", "", None, 7):
        header = EVENT["header"] | {"token": wrong}
        body = json.dumps({"header": header, "token": TOKEN}).encode()
        assert refusal(body, headers, encrypt_key=None)[0] == 401


def test_what_is_encrypted_without_our_having_a_key_says_what_to_do() -> None:
    status, reason = refusal(*sealed(EVENT, KEY, at=NOW), encrypt_key=None)
    assert status == 401
    assert "set encrypt_key" in reason


@pytest.mark.parametrize("broken", ["", "A", "AAAA", "=" * 44, "é" * 44, "A" * 43 + "="])
def test_what_cannot_be_decrypted_is_a_value_error(broken: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - base64 and cryptography have words of their own
        decrypt(KEY, broken)


def test_settings_need_a_key_or_a_token() -> None:
    with pytest.raises(ValidationError, match="encrypt_key or verification_token is needed"):
        settings(encrypt_key=None, verification_token=None)
    with pytest.raises(ValidationError, match="copied whole"):
        settings(app_secret="two\nlines")


# --- what it means -------------------------------------------------------------------------------


def told(text: str, *, chat_type: str = "group", sender: str = ANN, **more: Any) -> dict[str, Any]:
    people = (("@_user_1", BOT, "客服"), ("@_user_2", "ou_bob", "Bob"))
    message = {
        "message_id": "om_1",
        "chat_id": "oc_1",
        "chat_type": chat_type,
        "create_time": "1795334400000",
        "message_type": "text",
        "content": json.dumps({"text": text}),
        "mentions": [
            {"key": key, "id": {"open_id": person}, "name": name}
            for key, person, name in people
            if key in text
        ],
    } | more
    header = {"event_id": "ev_1", "event_type": "im.message.receive_v1", "create_time": "1"}
    who = {"sender_id": {"open_id": sender}, "sender_type": "user"}
    return {"header": header, "event": {"sender": who, "message": message}}


def heard(payload: dict[str, Any]) -> MessageReceived:
    found = meaning(payload, "shop", BOT)
    assert found is not None
    assert isinstance(found.event, MessageReceived)
    return found.event


@pytest.mark.parametrize(
    ("text", "expected", "is_addressed"),
    [
        ("@_user_1 hello", "hello", True),
        ("hello @_user_1", "hello", True),
        ("hi @_user_1, there", "hi there", True),
        ("你好@_user_1 在吗", "你好 在吗", True),
        ("ask @_user_2", "ask @Bob", False),
        ("@_user_1 and @_user_2?", "and @Bob?", True),
        ("@_all hello", "@all hello", False),
        ("@_all @_user_1 hello", "@all hello", True),
        ("@_user_12 @_user_1 hello", "@_user_12 hello", True),
        ("line\n@_user_1  second", "line\nsecond", True),
    ],
)
def test_mentions_become_names_and_the_bots_own_goes(
    text: str, expected: str, is_addressed: bool
) -> None:
    event = heard(told(text))
    assert (event.text, event.addressed_to_bot) == (expected, is_addressed)


def test_a_name_that_looks_like_a_mention_is_only_a_name() -> None:
    names = {"@_user_1": "bot", "@_user_2": "@_user_3", "@_user_3": "Eve"}
    assert named("@_user_2 hi", names, frozenset({"@_user_1"})) == "@@_user_3 hi"


def test_a_mention_in_a_text_full_of_blanks_is_found_in_linear_time() -> None:
    blanks = " " * 1_000_000
    # Quadratic, it would take ten minutes: the run's time limit is the test.
    assert named(f"@_user_1 a{blanks}b", {}, frozenset({"@_user_1"})) == f"a{blanks}b"


def test_who_replies_is_looked_at_only_where_nobody_is_mentioned() -> None:
    def replies_to(text: str, chat_type: str = "group") -> str | None:
        found = meaning(told(text, chat_type=chat_type, parent_id="om_0"), "shop", BOT)
        assert found is not None
        return found.replies_to

    assert replies_to("and?") == "om_0"
    assert replies_to("@_user_2 and?") is None
    assert replies_to("@_all and?") is None
    assert replies_to("and?", "p2p") is None


def test_what_the_bot_itself_says_means_nothing() -> None:
    assert meaning(told("hello", sender=BOT), "shop", BOT) is None


def test_a_private_chat_is_one_conversation_with_its_topics() -> None:
    event = heard(told("hello", chat_type="p2p", thread_id="omt_1", root_id="om_0"))
    assert (event.conversation.thread, event.conversation.member) == (None, None)
    assert event.addressed_to_bot
    assert not event.in_group


@pytest.mark.parametrize(
    "change",
    [
        {"content": "{"},
        {"content": "[]"},
        {"content": "[" * 100_000},
        {"message_id": "a b"},
        {"create_time": "soon"},
        {"chat_id": None},
    ],
)
def test_a_malformed_message_is_left_out_and_acknowledged(change: dict[str, Any]) -> None:
    assert meaning(told("hello", **change), "shop", BOT) is None


def test_halves_of_characters_and_nul_do_not_reach_the_store() -> None:
    message = {"content": '{"text": "a\\ud800b\\u0000c"}'}
    assert heard(told("", **message)).text == "a\ufffdb\ufffdc"


def test_a_post_with_a_version_for_each_language_is_read() -> None:
    at = [{"tag": "at", "user_id": "@_user_1"}, {"tag": "at", "user_id": "all"}]
    hi = [*at, {"tag": "text", "text": " hi"}, 7, {"tag": "hr"}]
    nodes = [hi, None, 7, [{"tag": "media"}]]
    content = json.dumps({"zh_cn": {"title": "T", "content": nodes}})
    found = read("post", content, "om_1")
    assert found is not None
    assert found[0] == "T\n@_user_1@_all hi"
    assert found[1] == (Attachment(url="feishu:media", name="media"),)


def test_only_a_files_own_address_is_one_to_fetch() -> None:
    assert address_of(Attachment("feishu:om_1/file/f_1")) == ("om_1", "file", "f_1")
    for other in ("feishu:sticker", "https://a.example/om_1/file/f_1", "feishu:om_1/file/"):
        assert address_of(Attachment(other)) is None
    key = json.dumps({"image_key": "../../secret"})
    found = read("image", key, "om_1")
    assert found is not None
    assert address_of(found[1][0]) is None


def test_a_button_that_was_tampered_with_is_left_out() -> None:
    for value in ({"kfbot": ""}, {"kfbot": "x" * 33}, {"kfbot": 7}, {"kfbot": "t", "thread": " "}):
        payload = {
            "header": {"event_id": "ev_1", "event_type": "card.action.trigger"},
            "event": {
                "operator": {"open_id": ANN},
                "action": {"value": value},
                "context": {"open_chat_id": "oc_1"},
            },
        }
        assert meaning(payload, "shop", BOT) is None
