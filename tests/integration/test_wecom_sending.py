"""The WeCom adapter against the stand-in: what is sent, what is fetched, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from adapters.wecom import WeComAdapter, WeComSettings
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import Attachment, Button, ConversationId, OutboundMessage
from tests.platforms.wecom import ACCOUNT, AGENT, ANN, ROBOT_KEY, SECRET, STAFF, Fault, WeCom
from tests.platforms.wecom_envelopes import AES_KEY, CORP, TOKEN

pytestmark = pytest.mark.asyncio

APP = OutboundMessage(conversation=ConversationId("shop", STAFF), id="msg_1", text="**Yes.**")
SERVICE = replace(APP, conversation=ConversationId("shop", ANN, thread=ACCOUNT))
HANDOFF = replace(SERVICE, text="I am getting a person.", kind="handoff", note="asks for a person")


def section(wecom: WeCom, **settings: Any) -> dict[str, Any]:
    given = {"corp_id": CORP, "secret": SECRET, "token": TOKEN, "encoding_aes_key": AES_KEY}
    return {"platform": "wecom", "api_base": wecom.url} | given | settings


def adapter_for(wecom: WeCom, **settings: Any) -> WeComAdapter:
    return WeComAdapter("shop", WeComSettings.model_validate(section(wecom, **settings)))


@pytest_asyncio.fixture
async def wecom() -> AsyncIterator[WeCom]:
    async with WeCom() as opened:
        yield opened


@pytest_asyncio.fixture
async def app(wecom: WeCom) -> AsyncIterator[WeComAdapter]:
    async with adapter_for(wecom, agent_id=AGENT) as opened:
        yield opened


@pytest_asyncio.fixture
async def service(wecom: WeCom) -> AsyncIterator[WeComAdapter]:
    await wecom.writes("hello", ring=False)
    async with adapter_for(wecom, kf_accounts=[ACCOUNT], robot_key=ROBOT_KEY) as opened:
        yield opened


# --- an app --------------------------------------------------------------------------------------


async def test_check_names_the_app(app: WeComAdapter) -> None:
    assert await app.check() == f"app Helper of {CORP}"


async def test_one_token_serves_every_call(wecom: WeCom, app: WeComAdapter) -> None:
    await app.send(APP)
    await app.send(replace(APP, text="No."))
    assert [one.text for one in wecom.sent] == ["Yes.", "No."]
    assert wecom.tokens == 1


async def test_a_token_that_somebody_renewed_is_renewed_once_more(
    wecom: WeCom, app: WeComAdapter
) -> None:
    await app.send(APP)
    wecom.tokens += 1
    await app.send(replace(APP, text="No."))
    assert [one.text for one in wecom.sent] == ["Yes.", "No."]
    wecom.faults["message/send"] = [Fault(42001), Fault(42001)]
    with pytest.raises(ChannelUnauthorized):
        await app.send(APP)


async def test_what_was_taken_while_its_answer_was_lost_is_seen_once(
    wecom: WeCom, app: WeComAdapter
) -> None:
    wecom.faults["message/send"] = [Fault(lost=True)]
    with pytest.raises(ChannelUnavailable):
        await app.send(APP)
    await app.send(APP)
    assert len(wecom.sent) == 1


async def test_who_asks_the_same_again_hears_the_same_again(
    wecom: WeCom, app: WeComAdapter
) -> None:
    for number in range(3):
        await app.send(replace(APP, id=f"msg_{number}"))
    assert [one.text for one in wecom.sent] == ["Yes."] * 3


async def test_a_long_chinese_text_comes_whole_in_several_messages(
    wecom: WeCom, app: WeComAdapter
) -> None:
    text = "退款会在两个工作日内原路退回。" * 130
    receipt = await app.send(replace(APP, text=text))
    assert "".join(one.text for one in wecom.sent) == text
    assert len(receipt.platform_ids) == len(wecom.sent) == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-1, ChannelUnavailable),
        (45009, ChannelUnavailable),
        (60020, ChannelUnauthorized),
        (81013, MessageRejected),
        (777777, MessageRejected),
    ],
)
async def test_a_refusal_is_one_of_the_three_and_shows_no_secret(
    wecom: WeCom, app: WeComAdapter, code: int, kind: type[Exception]
) -> None:
    wecom.faults["message/send"] = [Fault(code)]
    with pytest.raises(kind) as raised:
        await app.send(APP)
    shown = f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert SECRET not in shown
    assert "lent-" not in shown


async def test_a_wrong_secret_says_which_setting(wecom: WeCom) -> None:
    async with adapter_for(wecom, agent_id=AGENT, secret="another") as adapter:
        with pytest.raises(ChannelUnauthorized, match="secret is wrong"):
            await adapter.check()


async def test_a_file_is_fetched_with_a_fresh_token(wecom: WeCom, app: WeComAdapter) -> None:
    wecom.files["M1"] = b"{\xff\xd8"
    await app.check()
    wecom.tokens += 1
    assert await app.fetch(Attachment("wecom-media:M1")) == b"{\xff\xd8"
    with pytest.raises(MessageRejected, match="40007"):
        await app.fetch(Attachment("wecom-media:gone"))
    with pytest.raises(MessageRejected, match="no file"):
        await app.fetch(Attachment("geo:1,2"))


# --- a service account ---------------------------------------------------------------------------


async def test_check_names_the_accounts_and_those_that_there_are(
    wecom: WeCom, service: WeComAdapter
) -> None:
    assert await service.check() == "customer service Shop; agents work in WeCom"
    async with adapter_for(wecom, kf_accounts=["wkNone"]) as adapter:
        with pytest.raises(ChannelUnauthorized, match=r"wkNone .* wkShop \(Shop\)"):
            await adapter.check()


async def test_buttons_are_a_menu_under_the_text(wecom: WeCom, service: WeComAdapter) -> None:
    buttons = (Button("t1", "Helpful"), Button("t2", "A person please"))
    await service.send(replace(SERVICE, buttons=buttons))
    [sent] = wecom.sent
    assert (sent.text, sent.menu) == ("Yes.", {"Helpful": "t1", "A person please": "t2"})


async def test_the_same_message_is_seen_once_however_often_it_is_sent(
    wecom: WeCom, service: WeComAdapter
) -> None:
    wecom.faults["kf/send_msg"] = [Fault(lost=True)]
    with pytest.raises(ChannelUnavailable):
        await service.send(SERVICE)
    again = await service.send(SERVICE)
    assert len(wecom.sent) == 1
    assert again == await service.send(SERVICE)


async def test_what_people_have_is_not_talked_into(wecom: WeCom, service: WeComAdapter) -> None:
    wecom.states[ACCOUNT, ANN] = 3
    with pytest.raises(MessageRejected, match="people of the account"):
        await service.send(SERVICE)
    assert wecom.sent == []


async def test_the_sixth_message_is_refused_and_the_reason_said(
    wecom: WeCom, service: WeComAdapter
) -> None:
    for number in range(5):
        await service.send(replace(SERVICE, id=f"m{number}"))
    with pytest.raises(MessageRejected, match="5 messages"):
        await service.send(replace(SERVICE, id="m5"))


async def test_a_handoff_puts_the_customer_into_the_queue_and_tells_the_group(
    wecom: WeCom, service: WeComAdapter
) -> None:
    await service.send(HANDOFF)
    assert [one.text for one in wecom.sent] == ["I am getting a person."]
    assert wecom.states[ACCOUNT, ANN] == 2
    assert wecom.notes == [f"{ANN}\n\nasks for a person"]


async def test_a_long_note_is_read_whole_by_the_group(wecom: WeCom, service: WeComAdapter) -> None:
    note = "原因" * 800
    await service.send(replace(HANDOFF, note=note))
    assert len(wecom.notes) > 1
    assert "".join(wecom.notes).endswith(note)


async def test_a_handoff_that_stopped_half_way_is_finished(
    wecom: WeCom, service: WeComAdapter
) -> None:
    wecom.faults["kf/service_state/trans"] = [Fault(-1)]
    with pytest.raises(ChannelUnavailable):
        await service.send(HANDOFF)
    await service.send(HANDOFF)
    assert (len(wecom.sent), wecom.states[ACCOUNT, ANN]) == (1, 2)


async def test_a_handoff_without_words_or_with_words_that_are_refused_calls_a_person(
    wecom: WeCom, service: WeComAdapter
) -> None:
    await service.send(replace(HANDOFF, text=""))
    assert (wecom.sent, wecom.states[ACCOUNT, ANN]) == ([], 2)
    wecom.states[ACCOUNT, ANN] = 0
    wecom.faults["kf/send_msg"] = [Fault(95001)]
    await service.send(HANDOFF)
    assert (wecom.sent, wecom.states[ACCOUNT, ANN]) == ([], 2)


@pytest.mark.parametrize("state", [2, 3])
async def test_who_is_with_people_already_is_not_moved(
    wecom: WeCom, service: WeComAdapter, state: int
) -> None:
    wecom.states[ACCOUNT, ANN] = state
    await service.send(HANDOFF)
    assert (wecom.states[ACCOUNT, ANN], wecom.sent) == (state, [])
    assert "kf/service_state/trans" not in dict(wecom.calls)


async def test_a_robot_that_fails_does_not_undo_a_handoff(
    wecom: WeCom, service: WeComAdapter
) -> None:
    wecom.faults["webhook/send"] = [Fault(93000)]
    await service.send(HANDOFF)
    assert wecom.states[ACCOUNT, ANN] == 2


@pytest.mark.parametrize(("servicer", "state"), [(STAFF, 3), ("lisi", 2)])
async def test_one_person_gets_the_session_and_if_away_the_queue(
    wecom: WeCom, service: WeComAdapter, servicer: str, state: int
) -> None:
    async with adapter_for(wecom, kf_accounts=[ACCOUNT], kf_servicer=servicer) as adapter:
        await adapter.send(HANDOFF)
    assert wecom.states[ACCOUNT, ANN] == state


@pytest.mark.parametrize("kind", ["handback", "resolved"])
async def test_what_people_have_is_ended_with_a_last_word(
    wecom: WeCom, service: WeComAdapter, kind: Any
) -> None:
    wecom.states[ACCOUNT, ANN] = 3
    await service.send(replace(SERVICE, kind=kind, text="The bot is back."))
    assert wecom.states[ACCOUNT, ANN] == 4
    [sent] = wecom.sent
    assert (sent.text, sent.code != "") == ("The bot is back.", True)


async def test_a_last_word_to_whom_the_bot_has_is_a_message(
    wecom: WeCom, service: WeComAdapter
) -> None:
    await service.send(replace(SERVICE, kind="resolved", text="Settled."))
    assert [(one.text, one.code) for one in wecom.sent] == [("Settled.", "")]


async def test_whom_the_queue_has_stays_there(wecom: WeCom, service: WeComAdapter) -> None:
    wecom.states[ACCOUNT, ANN] = 2
    await service.send(replace(SERVICE, kind="handback", text="The bot is back."))
    assert (wecom.states[ACCOUNT, ANN], wecom.sent) == (2, [])


async def test_agents_at_our_own_desk_need_no_session_moved(wecom: WeCom) -> None:
    await wecom.writes("hello", ring=False)
    async with adapter_for(wecom, kf_accounts=[ACCOUNT], kf_agents="desk") as adapter:
        assert not adapter.capabilities.help_desk
        await adapter.send(HANDOFF)
        await adapter.send(replace(SERVICE, kind="resolved", text="Settled."))
    assert wecom.states[ACCOUNT, ANN] == 0
    assert [one.text for one in wecom.sent] == ["I am getting a person.", "Settled."]
