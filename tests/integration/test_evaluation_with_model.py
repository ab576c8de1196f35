"""`kfbot evaluate` with a chat model in the settings, on a stand-in for its endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.cache import MODEL_CACHE
from tests.platforms.openai_stand_in import MODEL, OpenAiStandIn, quoting

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SAMPLES = Path(__file__).parents[2] / "knowledge" / "samples" / "en"
FAQ = {"id": "hours", "question": "When do you open?", "answer": "At nine."}
QUESTIONS = [
    {"text": "Does the warranty follow the product or the buyer?", "gold_ids": ["warranty.md"]},
    {"text": "When do you open?", "gold_ids": ["hours"]},
]


async def evaluate(folder: Path, url: str) -> str:
    """Run the command; returns what it printed."""
    (folder / "kfbot.toml").write_text(
        f'data_dir = "var"\n[chat_model]\nbase_url = "{url}"\nmodel = "{MODEL}"\n'
        "tokens_per_day = 1\n"
    )
    (folder / "var").mkdir()
    MODEL_CACHE.mkdir(exist_ok=True)
    (folder / "var" / "models").symlink_to(MODEL_CACHE.resolve())
    (folder / "docs").mkdir()
    for name in ("warranty.md", "returns.md", "shipping.md"):
        shutil.copy(SAMPLES / name, folder / "docs")
    for name, rows in (("docs/faq", [FAQ]), ("questions", QUESTIONS)):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KFBOT_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kfbot", "evaluate", "--settings", str(folder / "kfbot.toml"),
        "--knowledge", str(folder / "docs"),
        "--questions", str(folder / "questions.jsonl"),
        "--predictions", str(folder / "out.jsonl"), "--report", str(folder / "out.json"),
        env=kept | {"PYTHONUTF8": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await child.communicate()
    assert child.returncode == 0
    return said.decode()


async def test_what_the_model_writes_is_what_is_predicted_and_no_budget_is_touched(
    tmp_path: Path,
) -> None:
    async with OpenAiStandIn(quoting) as server:
        said = await evaluate(tmp_path, server.url)
    # The document's answer alone is written, once, whatever the dial.
    assert len(server.requests) == 1
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert rows[0]["answer"] == "The warranty follows the product, not the buyer. [1]"
    assert rows[0]["ranked_ids"][0] == "warranty.md"
    assert rows[1]["answer"] == "At nine."
    found = json.loads((tmp_path / "out.json").read_text("utf-8"))["chat_model"]
    assert (found["written"], found["requests"], found["models"]) == (1, 1, [MODEL])
    assert found["prompt_tokens"] > 100
    assert found["first_token_ms"]["p50"] > 0
    assert "quoted for want of proof" in said
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["models"]
