"""`kfbot model serve`: a real `transformers serve` with SmolLM2, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from kfbot.cli import run
from kfbot.model import serving
from kfbot.model.tuning.record import write_record
from kfbot.model.weights import check_adapter
from tests.small_model import smollm2, tiny_llama

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    file = tmp_path / "kfbot.toml"
    file.write_text('data_dir = "var"\n')
    return ["--settings", str(file)]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A LoRA adapter that changes what a tiny model says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path / "tiny"))
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


@contextmanager
def _served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`kfbot model serve`, once it is ready, and what it printed until then."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "kfbot", "model", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        said = ""
        while 'model = "' not in said:
            line = process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        yield process, said
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["model", "serve", *arguments]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = (one for one in said.splitlines() if one.startswith("kfbot: "))
    return line


def test_what_cannot_be_served_is_told_in_one_line(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "which model?" in _fault(capsys, *settings)
    assert "does not exist" in _fault(capsys, "/nowhere/model", *settings)
    assert "is no model folder: it has no config.json" in _fault(capsys, str(tmp_path), *settings)
    base = tiny_llama(tmp_path / "tiny")
    assert "is no adapter" in _fault(capsys, str(base), "--adapter", str(tmp_path), *settings)
    assert "there is no key" in _fault(capsys, str(base), "--host", "0.0.0.0", *settings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "is taken: --port N" in _fault(capsys, str(base), "--port", port, *settings)
    (base / "chat_template.jinja").unlink()
    assert "has no chat template" in _fault(capsys, str(base), *settings)


def test_an_adapter_for_another_base_is_refused(
    adapter: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fault = _fault(capsys, str(smollm2()), "--adapter", str(adapter), *settings)
    assert "of another shape; name its own base" in fault
    assert "is an adapter: name its base" in _fault(capsys, str(adapter), *settings)


def test_a_base_of_the_same_shapes_and_another_name_is_remarked(
    adapter: Path, tmp_path: Path
) -> None:
    twin = tiny_llama(tmp_path / "twin", seed=1)
    assert "by name, though its shapes fit" in check_adapter(adapter, str(twin))
    assert check_adapter(adapter, str(tmp_path / "tiny")) == ""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "--quantization"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "out of memory"),
        ("kfbot: no CUDA", "--device cpu"),
        ("OSError: X is not a local folder and is not a valid model identifier", "no such model"),
        ("OSError: We couldn't connect to 'the hub' to load the files", "name a folder"),
    ],
)
def test_what_a_child_died_of_is_told_with_what_to_do(said: str, told: str) -> None:
    process: Any = SimpleNamespace(returncode=1)
    assert told in serving._cause(deque(["Traceback", said, "last line"]), process)


def test_vllm_gets_the_adapter_beside_its_base(
    adapter: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(tmp_path / "tiny")
    flags = ["--print", "vllm", "--gpus", "2", "--adapter", str(adapter), *settings]
    assert run(["model", "serve", base, *flags]) == 0
    command = capsys.readouterr().out
    assert command.startswith(f"vllm serve {base} ")
    assert "--tensor-parallel-size 2" in command
    assert f"--enable-lora --max-lora-rank 8 \\\n  --lora-modules tuned={adapter}" in command


def test_ray_gets_a_file_of_python(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_llama(tmp_path / "tiny")
    assert run(["model", "serve", str(base), "--print", "ray", "--gpus", "4", *settings]) == 0
    file = capsys.readouterr().out
    compile(file, "serve_model.py", "exec")
    assert f'"model_source": "{base}"' in file
    assert '"tensor_parallel_size": 4' in file


@pytest.mark.parametrize("form", ["vllm", "ray"])
def test_what_speaks_against_an_adapter_is_printed_beside_the_recipe(
    form: str,
    adapter: Path,
    tmp_path: Path,
    settings: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_record(adapter, {"base_sha256": "", "finished": True, "verdict": "worse"})
    flags = ["--print", form, "--adapter", str(adapter), *settings]
    assert run(["model", "serve", str(tmp_path / "tiny"), *flags]) == 0
    said = capsys.readouterr()
    assert f"WARNING: {adapter} is NOT FIT to answer customers" in said.err
    assert "NOT FIT" not in said.out


@pytest.mark.slow
def test_a_tuned_model_is_served_until_sigterm_and_leaves_no_process(
    adapter: Path, tmp_path: Path, settings: list[str]
) -> None:
    with _served(str(tmp_path / "tiny"), "--adapter", str(adapter), *settings) as (process, said):
        (url,), (name,) = re.findall('base_url = "(.+)"', said), re.findall('model = "(.+)"', said)
        assert name == "tuned"
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        answer = httpx.post(f"{url}/chat/completions", json=body, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 4
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.slow
def test_customers_never_see_what_a_small_model_invents(tmp_path: Path) -> None:
    (tmp_path / "kb").mkdir()
    text = "# Returns\n\nUnworn shoes can be returned within 45 days of delivery.\n"
    (tmp_path / "kb" / "returns.md").write_text(text)
    file = tmp_path / "kfbot.toml"
    file.write_text('data_dir = "var"\n')
    with _served(str(smollm2()), "--settings", str(file)) as (_, said):
        section = said[said.index("[chat_model]") :]
        file.write_text(
            f'data_dir = "var"\n{section}[web]\nport = 0\n[knowledge.shop]\nsources = ["kb"]\n'
        )
        command = [sys.executable, "-m", "kfbot", "serve", "--settings", str(file)]
        bot = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            data = _asked(tmp_path / "var" / "server.json", "How can I return unworn shoes?")
        finally:
            bot.terminate()
            assert bot.wait(timeout=60) == 0
    assert data["decision"] in ("answer", "handoff")
    if data["decision"] == "answer":
        assert "45 days" in data["text"]
        assert data["citations"]


def _asked(file: Path, question: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            server = json.loads(file.read_text())
            headers = {"Authorization": f"Bearer {server['token']}"}
            answer = httpx.post(
                f"{server['url']}/api/v1/ask",
                json={"query": question},
                headers=headers,
                timeout=90,
            )
        except (OSError, ValueError, httpx.TransportError):
            time.sleep(0.2)
            continue
        assert answer.status_code == 200
        data: dict[str, Any] = answer.json()["data"]
        return data
    raise AssertionError("the bot did not start")
