"""What browsers are told with each answer, what no name reaches, and who may read what is kept."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from kfbot.places import owning
from kfbot.settings import load_settings
from kfbot.web.server import STATIC
from tests.integration.conftest import Served, ServedBot
from tests.security.routes import DESK, ROUTES, Who

HEADERS = {
    "Host": "127.0.0.1",
    "Origin": "https://evil.example",
    "Access-Control-Request-Method": "POST",
}


def static_files() -> list[str]:
    """The addresses of what pages load."""
    files = [file.relative_to(STATIC) for file in STATIC.rglob("*") if file.is_file()]
    return [
        f"/desk/static/{file.relative_to('desk')}"
        if file.parts[0] == "desk"
        else f"/chat/static/{file}"
        for file in files
        if file.suffix in (".js", ".css")
    ]


@pytest.mark.asyncio
async def test_every_answer_says_how_it_may_be_used(bot: ServedBot) -> None:
    for row in ROUTES:
        path = row.path.replace("{name}", "x").replace("{id}", "1")
        method = "GET" if row.method == "*" else row.method
        async with bot.http.request(method, bot.url + path, allow_redirects=False) as answer:
            told = answer.headers
            assert told["X-Content-Type-Options"] == "nosniff", row
            assert told["Referrer-Policy"] == "no-referrer", row
            assert told["Server"] == "kfbot", row
            assert not [name for name in told if name.startswith("Access-Control-")], row
            if row.who in (*DESK, Who.TOKEN, Who.PASSWORD, Who.FIRST_VISIT, Who.PLATFORM):
                assert told["Cache-Control"] == "no-store", row
                assert "frame-ancestors 'none'" in told["Content-Security-Policy"], row
                assert told["X-Frame-Options"] == "DENY", row


@pytest.mark.asyncio
async def test_pages_run_nothing_but_their_own_scripts(bot: ServedBot) -> None:
    for path in ("/chat", "/desk", "/desk/"):
        async with bot.http.get(bot.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            page = await answer.text()
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "base-uri 'none'" in policy
        assert "<script>" not in page
        assert " onclick" not in page
        assert "style=" not in page
    for path in static_files():
        async with bot.http.get(bot.url + path) as answer:
            assert answer.status == 200, path
            script = await answer.text()
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert sink not in script, (path, sink)


@pytest.mark.asyncio
async def test_a_page_elsewhere_is_let_read_nothing(bot: ServedBot) -> None:
    """Without these headers a browser gives no answer to a foreign page's script."""
    for row in ROUTES:
        for method in ("OPTIONS", "GET"):
            async with bot.http.request(method, bot.url + row.path, headers=HEADERS) as answer:
                assert not [name for name in answer.headers if name.startswith("Access-Control-")]


@pytest.mark.asyncio
@pytest.mark.parametrize("folder", ["/chat/static", "/desk/static", "/webhooks"])
async def test_no_spelling_of_a_path_leaves_the_folder(bot: ServedBot, folder: str) -> None:
    host, port = bot.url.removeprefix("http://").split(":")
    for name in (
        "../access.py",
        "..%2faccess.py",
        "%2e%2e/access.py",
        "%2e%2e%2faccess.py",
        "..%5caccess.py",
        "....//access.py",
        "%00",
        "chat.js%00.css",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "desk.html",
        "openapi.json",
        ".",
        "",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        request = f"GET {folder}/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        answer = (await reader.read()).decode(errors="replace")
        writer.close()
        assert answer.startswith(("HTTP/1.1 40", "HTTP/1.1 30")), (name, answer[:200])
        assert "root:" not in answer


@pytest.mark.asyncio
async def test_what_a_header_may_not_hold_gets_into_none(bot: ServedBot) -> None:
    """A line end in what is sent must not begin a header of the answer."""
    host, port = bot.url.removeprefix("http://").split(":")
    evil = "x%0d%0aSet-Cookie:%20kfbot_desk=evil%0d%0a%0d%0a<script>"
    for path in (
        f"/{evil}",
        f"/chat/{evil}",
        f"/webhooks/{evil}",
        f"/api/v1/jobs/{evil}",
        f"/desk/static/{evil}",
        f"/chat/config?lang={evil}",
        f"/desk/api/reports?format=csv&from={evil}",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        assert "evil" not in head, path
        assert "text/html" not in head or "<script>" not in body, path


@pytest.mark.asyncio
async def test_what_the_server_writes_is_for_its_owner_alone(
    served: Served, tmp_path: Path
) -> None:
    before = os.umask(0o022)
    try:
        async with served() as bot:
            server = bot.application.place / "server.json"
            assert stat.S_IMODE(server.stat().st_mode) == 0o600
        settings = load_settings(tmp_path / "kfbot.toml", overrides={"data_dir": "fresh"})
        with owning(settings) as place:
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
    finally:
        os.umask(before)
