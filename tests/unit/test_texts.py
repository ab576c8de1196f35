"""The bot's own words in every language, small talk, and the wish for a person."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from importlib.resources import files
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.conversation import Language
from kfbot.texts import LONGEST_PHRASE, SmallTalk, Texts, small_talk, texts, wants_person

LANGUAGES = get_args(Language)
KINDS = get_args(SmallTalk)


def file_of(language: Language) -> dict[str, Any]:
    return tomllib.loads(files("kfbot.texts").joinpath(f"{language}.toml").read_text("utf-8"))


def cases(table: str) -> list[str]:
    """The cells of a table."""
    return [cell.strip() for cell in table.split("|")]


# Files


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_and_no_other(language: Language) -> None:
    found = file_of(language)["texts"]
    assert set(found) == {field.name for field in fields(Texts)}
    assert set(found.pop("small_talk")) == set(KINDS)
    assert all(text.strip() == text != "" for text in found.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_recognises_every_kind_of_phrase(language: Language) -> None:
    found = file_of(language)["phrases"]
    assert set(found) == {"before", "after", "person_before", "person", *KINDS}
    assert all(phrases for phrases in found.values())


def test_every_language_file_belongs_to_a_language() -> None:
    found = {file.name for file in files("kfbot.texts").iterdir() if file.name.endswith(".toml")}
    assert found == {f"{language}.toml" for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_button_for_a_person_is_understood_when_it_is_typed(language: Language) -> None:
    says = texts(language)
    assert wants_person(says.person)
    assert wants_person(says.none_of_these)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_handoff_says_that_a_person_comes(language: Language) -> None:
    says, person = texts(language), {"en": "person", "zh": "人工"}[language]
    assert all(person in text for text in (says.handoff, says.handoff_asked, says.handoff_error))


# Small talk

SMALL_TALK = {
    "greeting": cases(
        """
        hi | Hello | hello!! | hey there | Hellooooo | good morning | Good evening! | hi bot |
        anyone there? | Is anybody here | yo | howdy | ＨＥＬＬＯ | 你好 | 您好！ | 你好啊 | 哈喽 |
        在吗 | 在吗？ | 请问有人吗 | 早上好 | 晚上好～ | 嗨嗨嗨 | 客服你好 | 你好，在不在
        """
    ),
    "thanks": cases(
        """
        thanks | Thank you! | thank you so much | thx | great, thanks | ok | okay | got it | I see |
        that helps | perfect, thank you | no more questions | that's all | cheers mate | 谢谢 |
        谢谢你 | 非常感谢 | 多谢啦 | 好的 | 好的谢谢 | 明白了 | 知道了 | 收到 | 没问题了 | 辛苦了 |
        嗯嗯 | 嗯 | 没有其他问题了 | 谢谢您的帮助 | 行 | ok
        """
    ),
    "goodbye": cases(
        """
        bye | Goodbye! | good bye | see you later | bye bye | have a nice day | take care | 再见 |
        拜拜 | 拜拜啦 | 晚安 | 下次再聊
        """
    ),
    "who_are_you": cases(
        """
        who are you? | What are you | are you a bot? | Are you human? | are you a real person |
        Are you a bot or a human? | am I talking to a robot? | what's your name? | what can you do |
        how can you help me? | 你是谁 | 你是谁？ | 你是机器人吗 | 你是不是机器人 | 请问你是真人吗 |
        你叫什么名字 | 你能做什么 | 介绍一下你自己 | 你是人工还是机器人
        """
    ),
    "how_are_you": cases(
        """
        how are you? | hi, how are you | how's it going? | What's up | 你好吗 | 最近好吗 |
        你最近怎么样
        """
    ),
}
#: Short messages that ask for something, or say more than a greeting.
MORE_THAN_SMALL_TALK = [
    *cases(
        """
        hi, where is my parcel? | hello I want a refund | thanks, but it is still broken |
        ok how do I return it | good morning, are you open today? | who are you shipping with? |
        what are your opening hours | how are you handling it | what can you do about my order |
        great shoes | is it ok to wash it? | bye bye baby shampoo | see you later alligator toy |
        have a good day delivery | hey jude vinyl | good night light | are you a member of Visa? |
        no other questions were answered | are you there on sunday | perfect fit guide |
        你好，我想退货 | 您好 运费多少 | 谢谢卡怎么用 | 好的那怎么退款 | 你是什么时候发货的 |
        你能做发票吗 | 在吗我要退货 | 早上几点开门 | 晚上好几个包裹没到 | 知道怎么退货吗 | 好吃吗 |
        没问题的话什么时候发货 | 明白卡是什么 | 再见面礼 | 你们好评返现吗 | 你是做什么生意的公司 |
        收到的货是坏的 | 行李箱有吗 | ? | 😀 | 12345
        """
    ),
    "",
    "   ",
    "x" * 200,
]


@pytest.mark.parametrize(
    ("text", "kind"), [(text, kind) for kind, said in SMALL_TALK.items() for text in said]
)
def test_small_talk_is_recognised(text: str, kind: str) -> None:
    assert small_talk(text) == kind


@pytest.mark.parametrize("text", MORE_THAN_SMALL_TALK)
def test_a_message_that_is_more_than_small_talk_is_not_taken_for_it(text: str) -> None:
    assert small_talk(text) is None


# The wish for a person

PERSON_EN = cases(
    """
    human | Human! | agent | a human please | real person | A real person, please | operator |
    representative | customer service | Customer support please | live chat | live agent |
    someone real | I want a human | I want to talk to a human | I'd like to speak to a person |
    I would like to speak with someone | can I talk to a real person? |
    Can I speak to an agent please | could I speak to a manager |
    could you connect me to an agent | please connect me with a representative |
    transfer me to a human | Transfer me to an agent now | put me through to customer service |
    let me talk to a person | let me speak to somebody | get me a human | give me an agent |
    I need a human | I need to speak to a human being | I need to talk to someone |
    talk to agent | speak to a representative | chat with a live agent | switch to a human |
    escalate to a supervisor | hello, can I talk to a human? |
    please, I just want to talk to a real human | None of these, a person please |
    no, a person please | how do I talk to a person? | how can I speak to a human |
    is it possible to talk to someone | may I speak with your manager |
    I really need to talk to customer support | useless, get me a human | human agent |
    agent please | want a real human now | Is there a human I can talk to? |
    can a person help me | I don't want to talk to a bot | stop, I want a person |
    is anyone human there | can someone help me please | are there any real people here |
    talk to somebody | I wish to speak to a person | get a human
    """
)
PERSON_ZH = cases(
    """
    人工 | 转人工 | 转人工！ | 转人工客服 | 人工客服 | 我要人工 | 我要转人工 | 请转人工 | 找人工 |
    找客服 | 客服 | 换人工 | 接人工 | 帮我转人工 | 能不能转人工 | 可以转人工吗 |
    请帮我转接人工客服 | 我想找人工客服 | 我要找真人 | 真人 | 真人客服 | 有没有人工客服 |
    我要和人工说话 | 我想跟真人聊 | 叫你们经理来 | 让人工来 | 人工服务 | 转接客服 | 联系客服 |
    快点转人工 | 直接转人工 | 给我转人工 | 你好，转人工 | 麻烦您转一下人工 | 都不是，转人工 |
    不要机器人，转人工 | 机器人不行，我要人工 | 人工在吗 | 我需要人工服务 | 能转人工吗谢谢 |
    切换人工 | 呼叫人工 | 转人工吧 | 人工人工人工 | 我要投诉，转人工 | 有人工吗 | 怎么转人工 |
    如何联系人工客服 | 别废话，转人工 | 找个真人跟我说 | 没用，转人工 | 我不想跟机器人说话 |
    叫人来 | 转人工坐席 | 换个人
    """
)
NO_PERSON_EN = cases(
    """
    can a person return a gift | what is a human resources contact | representative price |
    customer service hours | what are your customer service hours? |
    what is the phone number of customer service | when is customer support open? |
    how many people can use one account | is the agent fee refundable |
    do you have an operator manual | I bought this for a real person sized mannequin |
    can someone else pick up my parcel | can another person use my membership |
    is there a live chat | does a human check the refunds? | how long does customer service take |
    who is the manager of your shop in Paris | travel agent discount | cleaning agent |
    can a representative of my company sign | is someone home required for delivery |
    I need a person's name on the invoice | how do I become an agent | real estate agent |
    human hair wig price | the delivery person was rude | how do I rate the delivery person |
    I talked to a person yesterday and still have no refund |
    your agent told me I get a refund, when? | does customer support speak German |
    what does customer service cost | per person price | person to person transfer fee |
    is this bot operated by a human company | what can a person do about a lost parcel | service |
    support hours | do I get a refund if nobody is home | someone stole my parcel |
    I want to return a gift | I want a refund please | help | no | yes please |
    please cancel my order | get me a refund | give me my money back | how do I get a discount |
    two person tent
    """
)
NO_PERSON_ZH = cases(
    """
    人工智能是什么 | 换人收货 | 人工费多少钱 | 人工客服几点上班 | 客服电话是多少 | 人工服务时间 |
    客服工作时间是什么时候 | 可以换人收货吗 | 换个人签收可以吗 | 安装要人工费吗 |
    人工湖门票多少钱 | 真人发假发多少钱 | 联系人怎么改 | 收货人写错了 | 送货的人态度很差 |
    能找人代收吗 | 一个人可以用几张券 | 几个人可以用一个会员 | 你们客服上班吗 | 客服什么时候在线 |
    客服说给我退款，什么时候到账 | 昨天人工客服答应退款 | 人工客服电话 | 为什么人工客服不回 |
    人工审核要多久 | 人工退款要多久 | 经理推荐款是哪个 | 活人墓是什么 | 转人工要等多久 |
    客服是哪里人 | 找人砍价 | 叫外卖可以吗 | 转账到哪里 | 转运费多少 | 联系方式 | 联系电话 |
    接口怎么换 | 换货 | 换一个颜色 | 找不到订单 | 我要退货 | 我要发票 | 能不能便宜 | 帮我查订单 |
    给我退款 | 可以开发票吗 | 人在吗能收货 | 专员上门取件收费吗 | 工作人员多久上门 | 人 |
    给朋友送礼物
    """
)


@pytest.mark.parametrize("text", PERSON_EN + PERSON_ZH)
def test_a_wish_for_a_person_is_understood(text: str) -> None:
    assert wants_person(text)


@pytest.mark.parametrize("text", [*NO_PERSON_EN, *NO_PERSON_ZH, *MORE_THAN_SMALL_TALK])
def test_a_question_that_merely_mentions_a_person_is_answered(text: str) -> None:
    assert not wants_person(text)


# Limits

LONG = [
    "嗯" * 10_000, "哦" * 10_000 + "x", "hi " * 3334, "no " * 3334, "人工" * 5000,
    "i would like to " * 625, "转人工" + " " * 10_000, "talk to a real " * 667 + "human",
]  # fmt: skip
#: As long as a phrase may be, and full of ways to be divided.
DENSE = [
    "嗯" * 79 + "x", "哦" * 40 + "嗯" * 39 + "x", "哈" * 79 + "x", "啊嗯哦" * 26, "hi " * 26 + "x",
    "i would like to " * 5, "no no no yes i i i need need want to " * 2, "转换找叫接" * 16,
    "我想要我要想要" * 11, "谢" * 79 + "x", "you me just really " * 4,
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:8])
def test_long_messages_are_never_phrases(text: str) -> None:
    assert small_talk(text) is None
    assert not wants_person(text)


@pytest.mark.parametrize("text", DENSE, ids=lambda text: text[:8])
def test_a_message_that_could_be_divided_in_countless_ways_is_looked_at_all_the_same(
    text: str,
) -> None:
    assert len(text) <= LONGEST_PHRASE
    assert small_talk(text) is None or set(text) <= set("啊嗯哦")
    assert not wants_person(text)


@given(st.text(max_size=LONGEST_PHRASE))
def test_any_text_can_be_looked_at(text: str) -> None:
    small_talk(text)
    wants_person(text)


@given(
    st.lists(
        st.sampled_from([*"嗯哦啊好那请你您吗呢吧了谢哈", "hi ", "no ", "i ", "to "]),
        max_size=60,
    )
)
def test_any_heap_of_filling_words_can_be_looked_at(words: list[str]) -> None:
    small_talk("".join(words))
    wants_person("".join(words))
