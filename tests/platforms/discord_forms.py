"""What Discord's API and gateway say, in its forms."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

TOKEN = "not-a-real-token"
ME, ANN, ROLE = "900", "11", "950"
GUILD, CHANNEL, DIRECT, THREAD = "500", "600", "700", "800"
EPOCH = 1_420_070_400_000


def user(number: str, name: str, **given: Any) -> dict[str, Any]:
    """An account."""
    return {
        "id": number, "username": name, "discriminator": "0", "global_name": name.title(),
        "avatar": None, "bot": False,
    } | given  # fmt: skip


def member(**given: Any) -> dict[str, Any]:
    return {
        "roles": [], "joined_at": "2024-01-01T00:00:00+00:00", "deaf": False, "mute": False,
        "flags": 0, "nick": None,
    } | given  # fmt: skip


def guild() -> dict[str, Any]:
    role = {
        "id": ROLE, "name": "kfbot", "color": 0, "hoist": False, "position": 1, "managed": True,
        "permissions": "0", "mentionable": False, "flags": 0, "tags": {"bot_id": ME},
    }  # fmt: skip
    everyone = role | {"id": GUILD, "name": "@everyone", "position": 0, "tags": {}}
    channel = {
        "id": CHANNEL, "type": 0, "name": "support", "position": 0, "permission_overwrites": [],
        "parent_id": None, "nsfw": False,
    }  # fmt: skip
    thread = {
        "id": THREAD, "type": 11, "name": "order", "parent_id": CHANNEL, "owner_id": ANN,
        "message_count": 1, "member_count": 1, "rate_limit_per_user": 0,
        "thread_metadata": {
            "archived": False, "auto_archive_duration": 1440, "locked": False,
            "archive_timestamp": "2024-01-01T00:00:00+00:00",
        },
    }  # fmt: skip
    return {
        "id": GUILD, "name": "Shop", "icon": None, "owner_id": ANN, "afk_timeout": 60,
        "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0,
        "roles": [everyone, role], "emojis": [], "features": [], "mfa_level": 0,
        "system_channel_flags": 0, "premium_tier": 0, "preferred_locale": "en-US",
        "nsfw_level": 0, "stickers": [], "member_count": 2, "large": False, "unavailable": False,
        "members": [member() | {"user": user(ME, "kfbot", bot=True)}], "channels": [channel],
        "threads": [thread], "presences": [], "voice_states": [], "stage_instances": [],
        "guild_scheduled_events": [], "application_id": None,
    }  # fmt: skip


def refusal(status: int, said: Any) -> web.HTTPException:
    kind: dict[int, type[web.HTTPException]]
    kind = {400: web.HTTPBadRequest, 403: web.HTTPForbidden, 404: web.HTTPNotFound}
    kind |= {
        401: web.HTTPUnauthorized,
        429: web.HTTPTooManyRequests,
        500: web.HTTPInternalServerError,
    }
    return kind[status](text=json.dumps(said), content_type="application/json")


def answer(said: Any, status: int = 200) -> web.Response:
    # discord.py reads no JSON of another type, not even one that names its charset.
    kind = {"content-type": "application/json"}
    return web.Response(body=json.dumps(said).encode(), status=status, headers=kind)
