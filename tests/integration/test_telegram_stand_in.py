"""Bots that we did not write work on our Bot API: python-telegram-bot and aiogram vouch for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from telegram import (
    Bot,
    ChatMemberAdministrator,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Update,
)
from telegram.constants import ParseMode
from telegram.error import BadRequest, ChatMigrated, Conflict, InvalidToken
from telegram.request import HTTPXRequest

from tests.platforms.telegram import BOT, FORUM, GROUP, TOKEN, BotApi
from tests.platforms.telegram_texts import Fault

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[BotApi]:
    async with BotApi() as opened:
        yield opened


@pytest_asyncio.fixture
async def bot(platform: BotApi) -> AsyncIterator[Bot]:
    async with _bot(platform, TOKEN) as opened:
        yield opened


def _bot(platform: BotApi, token: str) -> Bot:
    return Bot(token, base_url=f"{platform.url}/bot", base_file_url=f"{platform.url}/file/bot")


async def test_python_telegram_bot_reads_updates_and_confirms_them_by_offset(
    platform: BotApi, bot: Bot
) -> None:
    assert bot.username == BOT["username"]
    await platform.says("one")
    [first] = await bot.get_updates(timeout=5)
    assert first.message is not None
    assert (first.message.text, first.message.chat.type) == ("one", "private")
    again = await bot.get_updates(timeout=0)
    assert [one.update_id for one in again] == [first.update_id]
    waiting = asyncio.create_task(bot.get_updates(offset=first.update_id + 1, timeout=5))
    await platform.until_called("getUpdates", 3)
    await platform.says("two")
    [second] = await waiting
    assert second.message is not None
    assert second.message.text == "two"


async def test_python_telegram_bot_sends_edits_and_hears_of_presses(
    platform: BotApi, bot: Bot
) -> None:
    asked = await platform.says("hello")
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="token-1")]])
    sent = await bot.send_message(
        7, "<b>Well</b> &lt;3", parse_mode=ParseMode.HTML, reply_markup=keyboard,
        reply_to_message_id=asked["message_id"],
    )  # fmt: skip
    assert sent.text == "Well <3"
    assert sent.parse_entities() == {sent.entities[0]: "Well"}
    assert sent.reply_to_message is not None
    await bot.send_chat_action(7, "typing")
    await platform.presses(platform.sent[0], "Yes")
    await bot.edit_message_text("Better", 7, sent.message_id)
    assert (platform.sent[0].text, platform.sent[0].buttons) == ("Better", {})
    update = (await bot.get_updates(timeout=5))[-1]
    assert update.callback_query is not None
    assert update.callback_query.data == "token-1"
    assert await update.callback_query.answer()


async def test_python_telegram_bot_downloads_a_file(platform: BotApi, bot: Bot) -> None:
    platform.files["photos/one.jpg"] = b"\xff\xd8"
    file = await bot.get_file("photos/one.jpg")
    assert bytes(await file.download_as_bytearray()) == b"\xff\xd8"


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (" ", None, "text is empty"),
        ("x" * 4097, None, "too long"),
        ("😀" * 2049, None, "too long"),
        ("<b>x", "HTML", "can't parse entities"),
        ("<blink>x</blink>", "HTML", "can't parse entities"),
        ("1 < 2", "HTML", "can't parse entities"),
    ],
)
async def test_bad_texts_are_refused(
    platform: BotApi, bot: Bot, text: str, mode: str | None, reason: str
) -> None:
    await platform.says("hello")
    with pytest.raises(BadRequest, match=f"(?i){reason}"):
        await bot.send_message(7, text, parse_mode=mode)


async def test_what_telegram_refuses_is_refused(platform: BotApi, bot: Bot) -> None:
    await platform.says("hello")
    sent = await bot.send_message(7, "same")
    with pytest.raises(BadRequest, match=r"(?i)not modified"):
        await bot.edit_message_text("same", 7, sent.message_id)
    with pytest.raises(BadRequest, match=r"(?i)to edit not found"):
        await bot.edit_message_text("same", 7, 999)
    with pytest.raises(BadRequest, match=r"(?i)chat not found"):
        await bot.send_message(8, "who?")
    async with HTTPXRequest() as request:
        with pytest.raises(InvalidToken):
            await request.post(f"{platform.url}/bot4242:wrong/getMe")


async def test_the_older_of_two_pollers_is_sent_away(platform: BotApi, bot: Bot) -> None:
    older = asyncio.create_task(bot.get_updates(timeout=5))
    await platform.until_called("getUpdates")
    async with _bot(platform, TOKEN) as other:
        newer = asyncio.create_task(other.get_updates(timeout=5))
        with pytest.raises(Conflict):
            await older
        await platform.says("hello")
        assert len(await newer) == 1


async def test_aiogram_polls_answers_and_reads_errors(platform: BotApi) -> None:
    pytest.importorskip("aiogram", reason="a client that vouches for our Bot API")
    from aiogram import Bot as AiogramBot
    from aiogram import Dispatcher
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.exceptions import TelegramRetryAfter, TelegramUnauthorizedError
    from aiogram.types import CallbackQuery, Message
    from aiogram.utils.keyboard import InlineKeyboardBuilder

    session = AiohttpSession(api=TelegramAPIServer.from_base(platform.url))
    async with AiogramBot(TOKEN, session=session) as bot:
        dispatcher = Dispatcher()

        @dispatcher.message()
        async def answer(message: Message) -> None:
            builder = InlineKeyboardBuilder()
            builder.button(text="Yes", callback_data="token-1")
            await message.reply(
                f"<i>{message.text}</i>", parse_mode="HTML", reply_markup=builder.as_markup()
            )

        @dispatcher.callback_query()
        async def pressed(query: CallbackQuery) -> None:
            assert isinstance(query.message, Message)
            await query.answer()
            await query.message.edit_text(f"pressed {query.data}")

        polling = asyncio.create_task(
            dispatcher.start_polling(bot, handle_signals=False, polling_timeout=5)
        )
        await platform.says("hello")
        [sent] = await platform.until_sent(1)
        assert (sent.text, sent.buttons) == ("hello", {"Yes": "token-1"})
        await platform.presses(sent, "Yes")
        await platform.until_called("editMessageText")
        await platform.until_confirmed()
        assert sent.text == "pressed token-1"
        await dispatcher.stop_polling()
        await polling
        platform.faults["getMe"] = [Fault(429, "Too Many Requests: retry after 3", retry_after=3)]
        with pytest.raises(TelegramRetryAfter) as raised:
            await bot.get_me()
        assert raised.value.retry_after == 3
    session = AiohttpSession(api=TelegramAPIServer.from_base(platform.url))
    async with AiogramBot("4242:wrong", session=session) as stranger:
        with pytest.raises(TelegramUnauthorizedError):
            await stranger.get_me()


async def test_aiogram_takes_updates_by_webhook_with_the_secret(platform: BotApi) -> None:
    pytest.importorskip("aiogram", reason="a client that vouches for our Bot API")
    from aiogram import Bot as AiogramBot
    from aiogram import Dispatcher
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.types import Message
    from aiogram.webhook.aiohttp_server import SimpleRequestHandler
    from aiohttp import web

    session = AiohttpSession(api=TelegramAPIServer.from_base(platform.url))
    async with AiogramBot(TOKEN, session=session) as bot:
        dispatcher = Dispatcher()
        heard: asyncio.Queue[str | None] = asyncio.Queue()

        @dispatcher.message()
        async def hear(message: Message) -> None:
            heard.put_nowait(message.text)

        app = web.Application()
        handler = SimpleRequestHandler(dispatcher, bot, secret_token="quiet")
        handler.register(app, path="/hook")
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        await bot.set_webhook(address, secret_token="wrong")
        await platform.says("hello")
        async with asyncio.timeout(60):
            while not platform.pushed:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert platform.pushed[0] == 401
            await bot.set_webhook(address, secret_token="quiet")
            assert await heard.get() == "hello"
        await platform.until_confirmed()
        await bot.delete_webhook()
        await runner.cleanup()


async def test_a_webhook_that_is_set_forbids_polling(platform: BotApi, bot: Bot) -> None:
    await bot.set_webhook("https://shop.example/hook")
    with pytest.raises(Conflict, match="webhook is active"):
        await bot.get_updates()
    await bot.delete_webhook()
    assert await bot.get_updates() == ()
    with pytest.raises(BadRequest, match=r"(?i)https url"):
        await bot.set_webhook("http://shop.example/hook")


async def test_updates_of_every_kind_are_read_by_python_telegram_bot(
    platform: BotApi, bot: Bot
) -> None:
    message = await platform.says("hello")
    await platform.edits(message, "hello there")
    kinds = [Update.MESSAGE, Update.EDITED_MESSAGE]
    found = await bot.get_updates(timeout=5)
    assert [kind for one, kind in zip(found, kinds, strict=True) if getattr(one, kind)] == kinds


async def test_python_telegram_bot_begins_and_closes_topics_where_it_may(
    platform: BotApi, bot: Bot
) -> None:
    platform.joins(FORUM)
    chat = await bot.get_chat(FORUM["id"])
    me = await bot.get_chat_member(FORUM["id"], BOT["id"])
    assert isinstance(me, ChatMemberAdministrator)
    assert (chat.is_forum, me.can_manage_topics) == (True, True)
    topic = await bot.create_forum_topic(FORUM["id"], "#7 Ann")
    sent = await bot.send_message(FORUM["id"], "hello", message_thread_id=topic.message_thread_id)
    assert (topic.name, sent.message_thread_id) == ("#7 Ann", topic.message_thread_id)
    assert await bot.edit_forum_topic(FORUM["id"], topic.message_thread_id, name="#7 done")
    assert await bot.close_forum_topic(FORUM["id"], topic.message_thread_id)
    assert platform.topics[FORUM["id"], topic.message_thread_id] == ("#7 done", False)
    with pytest.raises(BadRequest, match=r"(?i)topic_not_modified"):
        await bot.close_forum_topic(FORUM["id"], topic.message_thread_id)
    with pytest.raises(BadRequest, match=r"(?i)topic_id_invalid"):
        await bot.close_forum_topic(FORUM["id"], 999)
    with pytest.raises(BadRequest, match=r"(?i)non-empty"):
        await bot.create_forum_topic(FORUM["id"], " ")


async def test_topics_are_refused_where_there_are_none_or_the_bot_may_not(
    platform: BotApi, bot: Bot
) -> None:
    platform.joins(GROUP)
    platform.joins(FORUM, manages_topics=False)
    with pytest.raises(BadRequest, match=r"(?i)not a forum"):
        await bot.create_forum_topic(GROUP["id"], "#7")
    with pytest.raises(BadRequest, match=r"(?i)not enough rights"):
        await bot.create_forum_topic(FORUM["id"], "#7")
    assert (await bot.get_chat_member(FORUM["id"], BOT["id"])).status == "member"
    platform.moved = {-5: FORUM["id"]}
    with pytest.raises(ChatMigrated) as raised:
        await bot.get_chat(-5)
    assert raised.value.new_chat_id == FORUM["id"]


async def test_aiogram_begins_and_closes_topics(platform: BotApi) -> None:
    pytest.importorskip("aiogram", reason="a client that vouches for our Bot API")
    from aiogram import Bot as AiogramBot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.exceptions import TelegramMigrateToChat
    from aiogram.types import ChatMemberAdministrator as Administrator

    platform.joins(FORUM)
    platform.moved = {-5: FORUM["id"]}
    session = AiohttpSession(api=TelegramAPIServer.from_base(platform.url))
    async with AiogramBot(TOKEN, session=session) as bot:
        chat = await bot.get_chat(FORUM["id"])
        me = await bot.get_chat_member(FORUM["id"], BOT["id"])
        assert isinstance(me, Administrator)
        assert (chat.is_forum, me.can_manage_topics) == (True, True)
        topic = await bot.create_forum_topic(FORUM["id"], "#7 Ann")
        assert await bot.close_forum_topic(FORUM["id"], topic.message_thread_id)
        with pytest.raises(TelegramMigrateToChat):
            await bot.create_forum_topic(-5, "#7 Ann")
