"""Adapters of other packages; and the guide docs/add-a-platform.md, whose adapter is one."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kfbot.channels import adapter_type, open_channels, platforms
from kfbot.errors import SettingsError
from kfbot.settings import CHECKOUT, Settings
from tests.conftest import Clock
from tests.integration.conftest import ENTRIES, Served

GUIDE = (CHECKOUT / "docs" / "add-a-platform.md").read_text("utf-8")
Install = Callable[..., Path]


def blocks(language: str) -> list[str]:
    """What the guide shows in a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package with one module and its entry points; returns the folder it is in."""
    installed: list[str] = []

    def install(name: str, module: str, code: str, points: dict[str, str]) -> Path:
        folder = tmp_path / name
        about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{platform} = {value}" for platform, value in points.items()]
        (about / "entry_points.txt").write_text("\n".join(["[kfbot.adapters]", *lines]))
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        installed.append(module)
        return folder

    yield install  # type: ignore[misc]
    for module in installed:
        sys.modules.pop(module, None)


@pytest.fixture
def pigeon(install: Install) -> Path:
    """The guide's package, as its own pyproject.toml says."""
    project = tomllib.loads(blocks("toml")[0])["project"]
    points = project["entry-points"]["kfbot.adapters"]
    module = points["pigeon"].partition(":")[0]
    return install(project["name"], module, blocks("python")[0], points)


def opened(platform: str, **section: Any) -> Any:
    settings = Settings(channels={"shop": {"platform": platform, **section}})
    return open_channels(settings)["shop"]


def fault(platform: str, **section: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        opened(platform, **section)
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_an_adapter_of_another_package_is_found_and_opened(pigeon: Path) -> None:
    assert "pigeon" in platforms()
    adapter = opened("pigeon", token="t", signing_secret="s")
    assert type(adapter).__name__ == "PigeonAdapter"
    assert "did you mean pigeon?" in fault("pidgeon")


def test_its_settings_are_checked_as_those_of_any_platform(pigeon: Path) -> None:
    line = fault("pigeon", token="hunter2", colour="red")
    assert "signing_secret" in line
    assert "colour" in line
    assert "hunter2" not in line


def test_without_the_package_the_platform_is_unknown() -> None:
    assert "pigeon" not in platforms()
    assert "'pigeon' is unknown" in fault("pigeon")


def test_listing_platforms_runs_no_code_of_other_packages(install: Install) -> None:
    install("kfbot-loud", "kfbot_loud", "raise RuntimeError('ran')", {"loud": "kfbot_loud:A"})
    assert "loud" in platforms()
    assert "kfbot_loud" not in sys.modules


def test_a_platform_of_ours_cannot_be_replaced(install: Install) -> None:
    code = "from adapters.console import ConsoleAdapter\nclass Theirs(ConsoleAdapter): ..."
    install("kfbot-theirs", "kfbot_theirs", code, {"console": "kfbot_theirs:Theirs"})
    assert adapter_type("console").__module__ == "adapters.console"
    assert platforms().count("console") == 1


BROKEN = {
    "raise RuntimeError('no\\nluck')": "cannot be loaded: RuntimeError: no luck",
    "import no_such_module_at_all": "cannot be loaded: ModuleNotFoundError",
    "def (": "cannot be loaded: SyntaxError",
    "": "cannot be loaded: AttributeError",
    "A = 7": "kfbot_odd:A of the package kfbot-odd 1.0 is no ChannelAdapter",
    "class A: ...": "is no ChannelAdapter",
    "from kfbot.adapter import ChannelAdapter\nclass A(ChannelAdapter): ...": "lacks send",
    "from adapters.console import ConsoleAdapter as B\nclass A(B):\n settings_type = dict": (
        "has a settings_type that is no AdapterSettings"
    ),
}


@pytest.mark.parametrize("code", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_package_is_one_line_that_names_it(install: Install, code: str) -> None:
    install("kfbot-odd", "kfbot_odd", code, {"odd": "kfbot_odd:A"})
    line = fault("odd")
    assert BROKEN[code] in line
    assert "kfbot-odd 1.0" in line
    # The other channels are not touched by it.
    assert opened("console").channel == "shop"


def test_two_packages_with_one_platform_are_named(install: Install) -> None:
    for name in ("kfbot-a", "kfbot-b"):
        module = name.replace("-", "_")
        install(name, module, "", {"twice": f"{module}:A"})
    assert "kfbot-a 1.0 and kfbot-b 1.0: uninstall all but one" in fault("twice")


def test_a_package_that_is_found_twice_is_one(install: Install, tmp_path: Path) -> None:
    code = "from adapters.console import ConsoleAdapter as A"
    folder = install("kfbot-a", "kfbot_a", code, {"once": "kfbot_a:A"})
    sys.path.insert(0, f"{folder}/.")
    try:
        assert adapter_type("once").__name__ == "ConsoleAdapter"
    finally:
        sys.path.pop(0)


# --- the guide -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_guides_adapter_passes_the_contract_suite(pigeon: Path, tmp_path: Path) -> None:
    payloads = tmp_path / "payloads"
    (payloads / "pigeon").mkdir(parents=True)
    for name, text in zip(("settings", "group_mention"), blocks("json"), strict=True):
        (payloads / "pigeon" / f"{name}.json").write_text(text, encoding="utf-8")
    suite = [str(CHECKOUT / "tests/contract/test_adapters.py"), "-k", "pigeon", "-q"]
    options = ["-p", "no:cacheprovider", f"--basetemp={tmp_path / 'suite'}"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *suite, *options],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(pigeon), "KFBOT_TEST_PAYLOADS": str(payloads)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed
    assert int(passed[1]) >= 35


@pytest.mark.asyncio
async def test_the_guides_adapter_answers_customers(
    pigeon: Path, served: Served, clock: Clock
) -> None:
    taken: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer t"
        taken.append(await request.json())
        return web.json_response({"id": len(taken)})

    messenger = web.Application()
    messenger.router.add_post("/messages", take)
    async with TestServer(messenger) as server:
        section = {
            "platform": "pigeon",
            "api_base": str(server.make_url("/")),
            "token": "t",
            "signing_secret": "s",
        }
        async with served(clock=clock, sections={"shop": section}) as bot:
            said = {"kind": "message", "id": 7, "chat": "c1", "person": "ann", "in_group": False}
            said |= {"sent_at": clock().timestamp(), "text": "运费是多少"}
            body = json.dumps(said).encode()
            signature = hmac.new(b"s", body, hashlib.sha256).hexdigest()
            for _ in range(2):
                async with bot.http.post(
                    f"{bot.url}/webhooks/shop", data=body, headers={"X-Pigeon-Signature": signature}
                ) as response:
                    assert (response.status, await response.text()) == (200, "ok")
            await bot.quiet()
            assert (await bot.post("/webhooks/shop", data=body))[0] == 401
    [answer] = taken
    assert answer["chat"] == "c1"
    assert answer["text"].startswith(ENTRIES["运费是多少"])


def test_the_guides_code_is_as_clean_as_ours(pigeon: Path) -> None:
    code = pigeon / "kfbot_pigeon.py"
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", "pyproject.toml", str(code)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout
