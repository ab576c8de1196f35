"""The server against its own OpenAPI document, by schemathesis, as programs would use them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Served, ServedBot

#: What stands at the limits of every schema; in `make fuzz` also what is made up.
PHASES = "coverage,fuzzing" if os.environ.get("FUZZ") == "deep" else "coverage"
TOKEN = "a-token-for-the-tests-of-the-schema"
#: Of these a test of their own says more: what a form holds decides whether an upload is accepted.
BY_HAND = "/api/v1/doc/upload"


async def run(url: str, folder: Path, *options: str) -> tuple[int, str]:
    """Exit status and words of schemathesis."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/v1/openapi.json",
        "--checks", "all", "--continue-on-failure", "--generation-deterministic", "--no-shrink",
        "--no-color", "--max-examples", "200", "--include-path-regex", "^/api/|^/healthz",
        # Who sends no JSON is told that first, whatever the method.
        "--exclude-checks", "unsupported_method", "--exclude-path", BY_HAND, 
        "--header", f"Authorization: Bearer {TOKEN}", *options,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_every_operation_does_what_the_openapi_document_says(
    served: Served, tmp_path: Path
) -> None:
    async with served(web={"tokens": [TOKEN]}) as bot:
        await bot.http.post(
            f"{bot.url}/api/v1/ask",
            json={"query": "转人工", "conversation": "c-1"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        status, said = await run(bot.url, tmp_path, "--phases", PHASES)
    assert status == 0, said[-8_000:]


@pytest.mark.asyncio
async def test_who_uses_the_wrong_method_is_told_the_right_ones(bot: ServedBot) -> None:
    async with bot.http.put(f"{bot.url}/api/v1/ask", json={}) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
