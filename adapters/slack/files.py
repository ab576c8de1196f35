"""Files that people share: only Slack's own servers are asked, and shown the token."""

from __future__ import annotations

import aiohttp
from yarl import URL

from kfbot.errors import ChannelUnavailable, MessageRejected

#: Larger files are refused.
LARGEST_FILE = 50 * 1024 * 1024
_FILE_HOSTS = {"files.slack.com", "slack-files.com"}


def is_slacks(address: str, api_base: str) -> bool:
    """True where a file's address is Slack's (or the stand-in's that api_base names)."""
    try:
        url, base = URL(address), URL(api_base)
        if url.user is not None or url.password is not None:
            return False
        if url.scheme == "https" and url.port == 443 and url.host in _FILE_HOSTS:
            return True
        return bool(url.host) and url.origin() == base.origin()
    except ValueError:
        return False


async def download(
    session: aiohttp.ClientSession, address: str, *, channel: str, token: str
) -> bytes:
    """The bytes of a file.

    Raises:
        ChannelUnavailable: Not now.
        MessageRejected: It is gone, too large, or the token may not read files.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        # A redirect would take the token elsewhere; Slack sends one to who may not read.
        async with session.get(address, headers=headers, allow_redirects=False) as response:
            _check(channel, response)
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > LARGEST_FILE:
                    raise MessageRejected(channel, f"the file is over {LARGEST_FILE} bytes")
            return bytes(content)
    except (aiohttp.ClientError, OSError) as error:
        reason = f"the file cannot be fetched now ({type(error).__name__})"
        raise ChannelUnavailable(channel, reason) from None


def _check(channel: str, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 429 or status >= 500:
        raise ChannelUnavailable(channel, f"Slack answers {status} for the file")
    if status != 200:
        advice = "the bot needs the scope files:read" if status in (302, 401, 403) else "it is gone"
        raise MessageRejected(channel, f"Slack answers {status} for the file: {advice}")
