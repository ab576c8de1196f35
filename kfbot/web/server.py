"""The aiohttp server: routes, limits, and every error as one clear answer."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from kfbot.application import Application
from kfbot.errors import (
    Conflict,
    ConversationChanged,
    KnowledgeBaseUnavailable,
    Overloaded,
    SettingsError,
    StoreUnavailable,
    WebhookRejected,
)
from kfbot.jobs import Jobs
from kfbot.knowledge_models import known_endings
from kfbot.settings import Settings
from kfbot.web.access import (
    Access,
    Refused,
    Visitors,
    check_exposure,
    load_key,
    write_private,
)
from kfbot.web.api import Api, BadRequest, NotFound, failure
from kfbot.web.chat import STATIC, Chat
from kfbot.web.customers import CustomerApi
from kfbot.web.dead_letters import DeadLetterApi
from kfbot.web.desk import Desk
from kfbot.web.desk.page import PRIVATE
from kfbot.web.event_deliveries import EventDeliveryApi
from kfbot.web.health import Health
from kfbot.web.knowledge import KnowledgeApi
from kfbot.web.limits import in_time, server_options
from kfbot.web.uploads import UploadApi
from kfbot.web.watching import Watching, counting
from kfbot.web.webhooks import Webhooks

logger = logging.getLogger(__name__)

#: Larger bodies are refused before they are read.
LARGEST_BODY = 1024 * 1024
#: Requests that are still being answered get so long when the server stops.
SHUTDOWN_SECONDS = 3.0
#: What the API can do is no secret.
DESCRIPTION = "/api/v1/openapi.json"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Which versions of Python and aiohttp run here is nobody's business.
    "Server": "kfbot",
}
_STATUS: dict[type[Exception], int] = {
    BadRequest: 400,
    NotFound: 404,
    ConversationChanged: 409,
    Conflict: 409,
    KnowledgeBaseUnavailable: 503,
    TimeoutError: 503,
}
#: Whose answers nobody keeps or frames.
_PRIVATE_PLACES = ("/desk", "/api/", "/webhooks/")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def try_address(settings: Settings) -> None:
    """Listen for a moment, so that a fault is told before a first load takes its minutes.

    Raises:
        SettingsError: The port is taken, or the address needs tokens.
    """
    host, port = settings.web.host, settings.web.port
    check_exposure(host, _tokens(settings))
    with _telling_taken(host, port):
        listening = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    listening.close()
    await listening.wait_closed()


def _tokens(settings: Settings) -> list[str]:
    return [token.get_secret_value() for token in settings.web.tokens]


@asynccontextmanager
async def serving(application: Application, *, port: int | None = None) -> AsyncIterator[str]:
    """Serve the application; yields its URL. server.json tells commands where it is.

    Raises:
        SettingsError: The port is taken, or the address needs tokens.
        StoreUnavailable: The key of the visitors cannot be read.
    """
    settings = application.settings
    tokens = _tokens(settings)
    check_exposure(settings.web.host, tokens)
    own_token = secrets.token_urlsafe(32)
    watching = settings.web.metrics_token.get_secret_value()
    jobs = Jobs(application.jobs, application.knowledge)
    key = await load_key(application.keys, settings.data_dir)
    chat, desk = Chat(application, Visitors(key)), Desk(application)
    runner = web.AppRunner(
        create_app(application, Access(tokens, own_token, watching), chat, desk, jobs),
        access_log=None,
        **server_options(),
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    port = settings.web.port if port is None else port
    site = web.TCPSite(runner, settings.web.host, port)
    try:
        with _telling_taken(settings.web.host, port):
            await site.start()
        url = _url(settings.web.host, runner)
        file = application.place / "server.json"
        write_private(file, json.dumps({"url": url, "token": own_token}))
        try:
            async with desk.running():
                yield url
        finally:
            file.unlink(missing_ok=True)
            chat.streams.close()
            await jobs.close()
    finally:
        await runner.cleanup()


def create_app(
    application: Application, access: Access, chat: Chat, desk: Desk, jobs: Jobs
) -> web.Application:
    """The routes, each behind its check."""
    app = web.Application(
        client_max_size=LARGEST_BODY,
        middlewares=[counting, _answering_errors, in_time, _guarding(access)],
    )
    app.on_response_prepare.append(_add_headers)

    names = tuple(application.settings.knowledge)
    webhooks = Webhooks(application)
    app.on_shutdown.append(webhooks.close)
    watching = Watching(application, access)
    app.on_shutdown.append(watching.close)
    health = Health(application.knowledge)
    app.on_shutdown.append(health.close)
    app.add_routes(
        [
            web.get("/", _to_chat),
            web.get("/healthz", health.check),
            web.get(DESCRIPTION, _describe),
            web.route("*", "/webhooks/{channel}", webhooks.receive),
            web.route("*", "/webhooks/{channel}/{path:.+}", webhooks.receive),
            *Api(application).routes(),
            *KnowledgeApi(application.knowledge, names, jobs).routes(),
            *UploadApi(application.uploads, names, jobs, known_endings).routes(),
            *DeadLetterApi(application.dead_letters).routes(),
            *EventDeliveryApi(application.conversation_events).routes(),
            *CustomerApi(application.privacy).routes(),
            *watching.routes(),
            *chat.routes(),
            *desk.routes(),
        ]
    )
    return app


async def _to_chat(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/chat")


async def _describe(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(STATIC / "openapi.json")


def _guarding(access: Access) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/") and request.path != DESCRIPTION:
            access.check(request)
        return await handler(request)

    return guard


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    if request.path.startswith(_PRIVATE_PLACES):
        for name, value in PRIVATE.items():
            response.headers.setdefault(name, value)


def _answer_to(error: web.HTTPException) -> web.Response:
    if error.status < 400:
        raise error
    answer = failure(error.status, error.reason)
    # RFC 9110: who used the wrong method is told the right ones.
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


@web.middleware
async def _answering_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _answer_to(error)
    except (Refused, WebhookRejected) as error:
        return failure(error.status, str(error))
    except Overloaded as error:
        response = failure(503, str(error))
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        return response
    except StoreUnavailable as error:
        # Who has no token is not told what the database says.
        known = request.path.startswith("/api/")
        return failure(503, str(error) if known else "nothing can be stored now: send it again")
    except tuple(_STATUS) as error:
        status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
        return failure(status, str(error))
    except asyncio.CancelledError:
        raise
    except Exception:
        logger.exception("request failed", extra={"event": "request_failed"})
        return failure(500, "something went wrong here; the log says what")


@contextmanager
def _telling_taken(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # asyncio tells the address once more, before the reason.
        reason = (error.strerror or str(error)).rpartition(": ")[2]
        raise SettingsError(
            f"[web] cannot listen at {host}, port {port}: {reason};"
            " set another [web] port, or --port"
        ) from error


def _url(host: str, runner: web.AppRunner) -> str:
    port = runner.addresses[0][1]
    # What listens on every address is reached from this machine at the loopback one.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def read_server_file(place: Path) -> tuple[str, str] | None:
    """URL and token of the server that owns a place; None if none says so."""
    with suppress(OSError, ValueError, KeyError):
        found = json.loads((place / "server.json").read_text(encoding="utf-8"))
        return str(found["url"]), str(found["token"])
    return None
