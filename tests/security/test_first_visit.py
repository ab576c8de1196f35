"""Nobody but a person on this machine makes the first admin, whatever stands in between."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from kfbot.web.neighbours import account_of
from tests.integration.conftest import ServedBot
from tests.integration.desk_client import PASSWORD, SESSION, DeskClient

SETUP = "/desk/api/setup"
ADMIN = {"name": "eve", "display_name": "Eve", "password": PASSWORD}
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 2
   2: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000    33        0 3
   3: 0000000000000000FFFF00000100007F:C002 0000000000000000FFFF00000100007F:1F90 01 \
00000000:00000000 00:00000000 00000000   101        0 4
"""
#: Sends a whole request to a port and prints the status.
VISIT = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
connection.request("POST", "/desk/api/setup", sys.argv[2], {"Content-Type": "application/json"})
print(connection.getresponse().status)
"""


@pytest.mark.skipif(sys.byteorder == "big", reason="the table is one of a little-endian machine")
@pytest.mark.parametrize(("port", "account"), [(0xC001, 33), (0xC002, 101), (0xC003, None)])
def test_the_account_of_the_other_end_is_read_from_the_kernels_table(
    port: int, account: int | None
) -> None:
    assert account_of(TABLE.splitlines(), ("127.0.0.1", port), ("127.0.0.1", 8080)) == account


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "header",
    [
        "Via",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Server",
        "CF-Connecting-IP",
        "True-Client-IP",
        "X-Client-IP",
        "X-Envoy-External-Address",
    ],
)
async def test_through_a_proxy_there_is_no_first_visit(bot: ServedBot, header: str) -> None:
    visitor = DeskClient(bot)
    for value in ("203.0.113.9", ""):
        assert (await visitor.call("POST", SETUP, ADMIN, headers={header: value}))[0] == 403
        assert not (await visitor.get(SESSION, headers={header: value}))["first_visit"]
    assert (await visitor.get(SESSION))["first_visit"]


@pytest.mark.asyncio
async def test_a_bare_proxy_that_speaks_http_1_0_is_not_somebody_here(bot: ServedBot) -> None:
    host, port = bot.url.removeprefix("http://").split(":")
    for path in (SESSION, "/api/v1/conversations"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        assert '"first_visit": false' in answer or answer.startswith("HTTP/1.0 401"), answer


@pytest.mark.asyncio
async def test_a_service_of_this_machine_makes_no_admin(bot: ServedBot) -> None:
    """As nginx 1.30 does with a bare proxy_pass: HTTP/1.1, our own address, no header."""
    if os.geteuid() != 0:
        pytest.skip("only root can take another account")
    port = bot.url.rsplit(":", 1)[1]
    for account, status in ((33, 403), (65534, 403), (1000, 200)):
        done = await asyncio.to_thread(
            subprocess.run,
            ["/usr/bin/env", "python3", "-c", VISIT, port, json.dumps(ADMIN)],
            user=account,
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        )
        assert done.stdout.strip() == str(status), account
