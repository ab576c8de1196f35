"""Two `kfbot serve` with the same settings: started at once, one killed, the other goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cache import MODEL_CACHE
from tests.integration.test_cli import environment, kfbot_json, write_lines
from tests.postgres import new_database

TIMEOUT_SECONDS = 180
QUESTION = {"query": "How do I return a parcel?"}


@pytest.fixture
def folder(server: str, tmp_path: Path) -> Iterator[Path]:
    """Settings on a database that is empty, without even a schema."""
    (tmp_path / "docs").mkdir()
    write_answer(tmp_path, "Use the form in it.")
    (tmp_path / "var").mkdir()
    MODEL_CACHE.mkdir(exist_ok=True)
    (tmp_path / "var" / "models").symlink_to(MODEL_CACHE.resolve())
    with new_database(server) as url:
        (tmp_path / "kfbot.toml").write_text(
            f'data_dir = "var"\n[web]\nport = 0\n[database]\nurl = "{url}"\n'
            '[knowledge.shop]\nsources = ["docs"]\n'
        )
        yield tmp_path


def write_answer(folder: Path, text: str) -> None:
    row = {"id": "return", "question": "How do I return a parcel?", "answer": text}
    write_lines(folder / "docs" / "faq.jsonl", [row])


class Served:
    """`kfbot serve` in a process of its own; which place it takes turns out later."""

    def __init__(self, folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kfbot", "serve", "--port", "0"],
                cwd="/",
                env=environment(folder),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)


@pytest.fixture
def pair(folder: Path) -> Iterator[list[Served]]:
    started = [Served(folder, name) for name in ("one", "two")]
    yield started
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()


async def ready(pair: list[Served], *places: Path) -> list[httpx.AsyncClient]:
    """A client of the server in each place, once all are there."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not all((place / "server.json").exists() for place in places):
            for served in pair:
                assert served.process.poll() is None, served.log.read_text()
            await asyncio.sleep(0.05)
    found = [json.loads((place / "server.json").read_text()) for place in places]
    return [
        httpx.AsyncClient(
            base_url=f"{one['url']}/api/v1/",
            headers={"Authorization": f"Bearer {one['token']}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )
        for one in found
    ]


async def called(client: httpx.AsyncClient, path: str, body: Any = None) -> Any:
    response = await client.request("GET" if body is None else "POST", path, json=body)
    assert response.is_success, response.text
    return response.json()["data"]


async def job_is_done(client: httpx.AsyncClient, job_id: str) -> None:
    while (job := await called(client, f"jobs/{job_id}"))["state"] != "done":
        assert job["state"] == "running", job
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_two_servers_on_one_database_do_the_work_of_one_and_outlive_each_other(
    folder: Path, pair: list[Served]
) -> None:
    places = [folder / "var", folder / "var" / "replica-2"]
    clients = await ready(pair, *places)
    one, other = clients
    for client in clients:
        assert (await called(client, "ask", QUESTION))["text"] == "Use the form in it."
        # Both found it empty; it was loaded once.
        [state] = await called(client, "knowledge")
        assert (state["generation"], state["documents"]) == (1, 1)
    assert not (places[1] / "models").exists()
    assert [len(list((place / "index" / "shop").iterdir())) for place in places] == [1, 1]

    write_answer(folder, "Bring it to the shop.")
    job = await called(one, "knowledge/shop/reload", {})
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job_is_done(other, job["job"])
        seen = {"Use the form in it."}
        while "Bring it to the shop." not in seen:
            seen.add((await called(other, "ask", QUESTION))["text"])
        assert seen == {"Use the form in it.", "Bring it to the shop."}

    # Of the first place, where commands look first, only its server.json is left.
    [first] = [served for served in pair if owns(served, places[0])]
    [second] = [served for served in pair if served is not first]
    first.end(signal.SIGKILL)
    assert (places[0] / "server.json").exists()
    answer = kfbot_json(folder, "ask", QUESTION["query"], "--conversation", "c-1")
    assert answer["text"] == "Bring it to the shop."
    turn = await called(other, "conversations?chat=c-1")
    assert [conversation["state"] for conversation in turn] == ["bot"]
    for client in clients:
        await client.aclose()

    # A command on another machine opens the store beside the server.
    answer = asked_elsewhere(folder, "--conversation", "c-2")
    assert answer["text"] == "Bring it to the shop."
    assert len(list((folder / "elsewhere" / "index" / "shop").iterdir())) == 1
    assert second.end(signal.SIGTERM) == 0, second.log.read_text()
    assert not (places[1] / "server.json").exists()


def asked_elsewhere(folder: Path, *options: str) -> Any:
    """What `kfbot ask --json` says with the same settings and another data folder."""
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "models").symlink_to(MODEL_CACHE.resolve())
    result = subprocess.run(
        [sys.executable, "-m", "kfbot", "ask", QUESTION["query"], "--json", *options],
        cwd="/",
        env=environment(folder) | {"KFBOT_DATA_DIR": str(folder / "elsewhere")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def owns(served: Served, place: Path) -> bool:
    """True where the process is the one that server.json of a place tells of."""
    url = json.loads((place / "server.json").read_text())["url"]
    return f"{url}/chat" in served.log.read_text()
