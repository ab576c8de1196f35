"""What WeCom posts: signatures, encryption and XML, vouched for by wechatpy both ways."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError
from wechatpy.enterprise.crypto import WeChatCrypto

from adapters.wecom.adapter import BODY_BYTES
from adapters.wecom.callbacks import WINDOW_SECONDS, Callbacks, read_fields
from adapters.wecom.settings import WeComSettings
from kfbot.errors import WebhookRejected
from tests.platforms.wecom_envelopes import AES_KEY, CORP, TOKEN, seal, sign, xml

SECRET = "secret-of-the-app"
APP: dict[str, Any] = {
    "platform": "wecom",
    "corp_id": CORP,
    "secret": SECRET,
    "token": TOKEN,
    "encoding_aes_key": AES_KEY,
    "agent_id": 1000002,
}
SERVICE = {name: value for name, value in APP.items() if name != "agent_id"} | {
    "kf_accounts": ["wkShop"]
}
MESSAGE = xml(FromUserName="zhangsan", MsgType="text", Content="年假有几天？")


@pytest.fixture
def callbacks() -> Callbacks:
    return Callbacks("shop", CORP, TOKEN, AES_KEY)


@pytest.fixture
def library() -> WeChatCrypto:
    return WeChatCrypto(TOKEN, AES_KEY, CORP)


def parts_of(sealed: str) -> tuple[str, dict[str, str]]:
    """Ciphertext and query of what the library sealed."""
    found = {one.tag: one.text or "" for one in ElementTree.fromstring(sealed)}
    names = {"msg_signature": "MsgSignature", "timestamp": "TimeStamp", "nonce": "Nonce"}
    return found["Encrypt"], {name: found[tag] for name, tag in names.items()}


# --- both ways -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 31, 32, 33, 5000])
def test_what_the_library_seals_is_opened(
    callbacks: Callbacks, library: WeChatCrypto, length: int
) -> None:
    message = xml(Content="年" * length)
    sealed = library.encrypt_message(message, "nonce")
    _, query = parts_of(sealed)
    assert callbacks.open_message(query, sealed.encode()) == {"Content": "年" * length}


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 31, 32, 33, 5000])
def test_the_library_opens_what_the_stand_in_seals(library: WeChatCrypto, length: int) -> None:
    message = xml(Content="年" * length)
    sealed = seal(message)
    opened = library.decrypt_message(
        sealed.body,
        sealed.query["msg_signature"],
        sealed.query["timestamp"],
        sealed.query["nonce"],
    )
    assert opened == message


def test_the_address_is_shown_to_be_ours(callbacks: Callbacks, library: WeChatCrypto) -> None:
    echo, query = parts_of(library.encrypt_message("1616140317555161061", "nonce"))
    assert callbacks.open_echo(query | {"echostr": echo}) == b"1616140317555161061"


# --- what is refused -----------------------------------------------------------------------------


def refused(callbacks: Callbacks, query: dict[str, str], body: bytes) -> WebhookRejected:
    with pytest.raises(WebhookRejected) as raised:
        callbacks.open_message(query, body)
    return raised.value


@pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce"])
@pytest.mark.parametrize("value", ["", "0", "é", "\ud800"])
def test_a_change_in_the_query_is_refused(callbacks: Callbacks, name: str, value: str) -> None:
    sealed = seal(MESSAGE)
    error = refused(callbacks, sealed.query | {name: value}, sealed.body)
    assert (error.status, "signature" in str(error)) == (401, True)


def test_a_change_in_the_body_is_refused(callbacks: Callbacks) -> None:
    sealed, other = seal(MESSAGE), seal(xml(Content="somebody else's"))
    assert refused(callbacks, sealed.query, other.body).status == 401


@pytest.mark.parametrize("off", [WINDOW_SECONDS + 2, -WINDOW_SECONDS - 2])
def test_what_is_old_or_early_is_refused(callbacks: Callbacks, off: int) -> None:
    sealed = seal(MESSAGE, at=time.time() + off)
    error = refused(callbacks, sealed.query, sealed.body)
    assert (error.status, "clock" in str(error)) == (401, True)


def test_what_is_a_little_old_is_taken(callbacks: Callbacks) -> None:
    sealed = seal(MESSAGE, at=time.time() - WINDOW_SECONDS + 30)
    assert callbacks.open_message(sealed.query, sealed.body)["FromUserName"] == "zhangsan"


def test_what_is_for_another_corporation_is_refused(callbacks: Callbacks) -> None:
    sealed = seal(MESSAGE, corp="ww9999999999999999")
    error = refused(callbacks, sealed.query, sealed.body)
    assert (error.status, "corp_id" in str(error)) == (401, True)


def padded(last: bytes) -> bytes:
    """A padding of the right length that ends in other bytes."""
    missing = 32 - (16 + 4 + len(MESSAGE.encode()) + len(CORP)) % 32
    return (bytes([missing]) * missing)[: -len(last)] + last


@pytest.mark.parametrize("last", [b"\x00", b"\x21", b"\xff", b"\x05\x06"])
def test_a_bad_padding_is_refused(callbacks: Callbacks, last: bytes) -> None:
    sealed = seal(MESSAGE, padding=padded(last))
    error = refused(callbacks, sealed.query, sealed.body)
    assert (error.status, "encoding_aes_key" in str(error)) == (401, True)


def test_a_padding_of_more_than_a_block_is_refused(callbacks: Callbacks) -> None:
    missing = 64 - (16 + 4 + len(MESSAGE.encode()) + len(CORP)) % 32
    sealed = seal(MESSAGE, padding=bytes([missing]) * missing)
    assert refused(callbacks, sealed.query, sealed.body).status == 401


@pytest.mark.parametrize("sealed", ["", "!", "AAAA", "A" * 64, "QUJD\nQUJD"])
def test_what_is_signed_and_no_ciphertext_is_refused(callbacks: Callbacks, sealed: str) -> None:
    body = f"<xml><Encrypt>{sealed}</Encrypt></xml>".encode()
    assert refused(callbacks, sign(sealed), body).status == 401


@pytest.mark.parametrize("length", [1000, 2**32 - 1])
def test_a_length_beyond_the_message_is_refused(callbacks: Callbacks, length: int) -> None:
    sealed = seal(MESSAGE, length=length)
    assert refused(callbacks, sealed.query, sealed.body).status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"<xml>",
        b"<html/>",
        b'<!DOCTYPE xml [<!ENTITY a "aaaa">]><xml><Encrypt>&a;</Encrypt></xml>',
        b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/hostname">]><xml><E>&a;</E></xml>',
        b"<a>" * 2000,
    ],
)
def test_what_is_no_plain_xml_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRejected) as raised:
        read_fields("shop", body)
    assert raised.value.status == 400


def test_comments_and_nested_elements_are_no_fields() -> None:
    body = b"<xml><!-- a --><A>1</A><B><C>2</C></B><?pi x?><D/></xml>"
    assert read_fields("shop", body) == {"A": "1", "D": ""}


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (APP | {"agent_id": None}, "agent_id .* or kf_accounts"),
        (APP | {"kf_accounts": ["wkShop"]}, "for both, two channels"),
        (APP | {"encoding_aes_key": "short"}, "43 letters and digits"),
        (APP | {"corp_id": "ww 1"}, "corp_id"),
        (APP | {"secret": "two words"}, "without spaces"),
        (APP | {"robot_key": "key"}, "robot_key is for kf_accounts"),
        (SERVICE | {"kf_accounts": ["wk/1"]}, "kf_accounts"),
        (SERVICE | {"kf_agents": "slack"}, "'wecom' or 'desk'"),
        (SERVICE | {"api_base": "qyapi"}, "http or https address"),
    ],
)
def test_what_is_wrong_in_a_section_is_said_without_its_secrets(
    section: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says) as raised:
        WeComSettings.model_validate(section)
    assert SECRET not in str(raised.value)
    assert TOKEN not in str(raised.value)


def test_agents_work_in_wecom_where_there_are_accounts_and_nothing_else_is_said() -> None:
    assert WeComSettings.model_validate(SERVICE).hands_over
    assert not WeComSettings.model_validate(SERVICE | {"kf_agents": "desk"}).hands_over
    assert not WeComSettings.model_validate(APP).hands_over


def test_a_callback_is_far_smaller_than_what_is_read() -> None:
    assert len(seal(xml(Content="年" * 2048)).body) < BODY_BYTES / 4
