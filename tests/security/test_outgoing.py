"""No customer and no platform can have us call an address of their choosing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from tests.integration.conftest import Served, ServedBot

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CRM = {"platform": "webhook", "secret": SECRET, "reply": "response"}


async def tell(bot: ServedBot, number: int, message: dict[str, object]) -> int:
    """Status of a signed message."""
    body, now, name = json.dumps(message), datetime.now(UTC), f"msg-{number}"
    headers = {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(name, now, body),
        "Content-Type": "application/json",
    }
    async with bot.http.post(f"{bot.url}/webhooks/crm", data=body, headers=headers) as answer:
        return answer.status


@pytest.mark.asyncio
async def test_no_address_of_a_message_is_called(served: Served) -> None:
    called: list[bytes] = []
    heard = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.readline())
        heard.set()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sender = {"id": "u-1", "name": url, "role": "customer"}
    common = {"conversation": "c-1", "sender": sender}
    files = [
        {"url": f"{url}/{name}", "media_type": kind, "name": f"{url}/{name}"}
        for name, kind in (("a.png", "image/png"), ("a.pdf", "application/pdf"))
    ]
    async with server, served(sections={"crm": CRM}) as bot:
        messages = [
            {"text": f"look at {url}/a ![x]({url}/b) <img src={url}/c>"},
            {"text": "look", "attachments": files},
            {"text": "转人工", "attachments": files},
        ]
        for number, message in enumerate(messages):
            status = await tell(bot, number, common | {"message_id": f"m-{number}"} | message)
            assert status == 200, message
        refused = common | {"message_id": "m-9", "text": "x", "callback_url": f"{url}/d"}
        assert await tell(bot, 9, refused) in (200, 400)
        await bot.quiet()
        assert called == []
        # It does listen.
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"hello\n")
        await writer.drain()
        async with asyncio.timeout(60):
            await heard.wait()
        writer.close()
