"""Everything in deploy/ is what its reader takes, and names only what there is."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from kfbot.inbox import DRAIN_SECONDS
from kfbot.settings import Settings, load_settings
from kfbot.web.server import SHUTDOWN_SECONDS

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
#: Values of secrets, by the end of the name of the variable that names their file.
SECRETS = {
    "TOKENS_FILE": '["a-long-random-token"]',
    "URL_FILE": "postgresql+asyncpg://kfbot:secret@postgres/kfbot",
    "METRICS_TOKEN_FILE": "another-long-random-token",
}


def extras() -> Mapping[str, Any]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: Mapping[str, Any] = project["optional-dependencies"]
    return found


def read_with(
    variables: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings that a container with these variables has."""
    for name, value in variables.items():
        if name.endswith("_FILE"):
            end = max((one for one in SECRETS if name.endswith(one)), key=len)
            (folder / name).write_text(SECRETS[end])
            value = str(folder / name)
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KFBOT_DATA_DIR", str(folder))
    return load_settings(None)


def objects() -> Iterator[dict[str, Any]]:
    """Every object of Kubernetes."""
    for file in MANIFESTS:
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [one for one in objects() if one["kind"] == kind]
    return found


# The image


def containerfile() -> list[dict[str, str]]:
    """The steps of the image, in order."""
    content = BytesIO((DEPLOY / "Containerfile").read_bytes())
    steps: list[dict[str, str]] = DockerfileParser(fileobj=content).structure
    return [step for step in steps if step["instruction"] != "COMMENT"]


def test_the_image_runs_without_root_and_stops_by_itself() -> None:
    steps = [(step["instruction"], step["value"]) for step in containerfile()]
    assert [value for kind, value in steps if kind == "USER"] == ["kfbot"]
    last_root = max(number for number, (kind, _) in enumerate(steps) if kind == "RUN")
    assert steps.index(("USER", "kfbot")) > last_root
    assert ("STOPSIGNAL", "SIGTERM") in steps
    assert steps[-1] == ("CMD", '["kfbot", "serve"]')
    # Whose child is signalled is kfbot itself, not a shell.
    assert json.loads(steps[-1][1]) == ["kfbot", "serve"]


def test_what_the_image_is_made_of_is_there_and_is_let_through() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}
    assert {name for name in kept if not (CHECKOUT / name).exists()} == set()
    packages = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    names = packages["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in names} <= kept


def test_the_extras_of_images_are_there() -> None:
    built = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in COMPOSE]
    named = [
        service["build"]["args"]["EXTRAS"]
        for compose in built
        for service in compose["services"].values()
        if "build" in service
    ]
    [default] = [step["value"] for step in containerfile() if "EXTRAS=" in step["value"]][:1]
    for list_of_extras in (*named, default.partition("=")[2]):
        assert set(list_of_extras.split(",")) <= set(extras())


# Compose


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_compose_gives_settings_that_are_taken(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = yaml.safe_load(file.read_text(encoding="utf-8"))
    bots = [one for one in compose["services"].values() if one["image"].startswith("kfbot:")]
    assert bots
    for bot in bots:
        variables = {name: str(value) for name, value in bot["environment"].items()}
        settings = read_with(variables, tmp_path, monkeypatch)
        [token] = settings.web.tokens
        assert token.get_secret_value() == "a-long-random-token"
        assert bot["read_only"]
        assert bot["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_compose_names_only_what_it_has(file: Path) -> None:
    compose = yaml.safe_load(file.read_text(encoding="utf-8"))
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service.get("networks", ())) <= set(compose.get("networks", ()))
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        # What changes under an unchanged name is not what was tried.
        assert not service["image"].endswith(":latest")
        assert ":" in service["image"]
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            is_there = source in compose["volumes"] or (DEPLOY / source).exists()
            assert is_there, volume


# Kubernetes


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_kubernetes_takes_the_manifests(file: Path) -> None:
    for one in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if one["kind"] != "Kustomization":
            kubernetes_validate.validate(one, "1.34", strict=True)


def test_kustomize_has_every_manifest_but_the_example_of_a_secret() -> None:
    folder = DEPLOY / "kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    others = {"kustomization.yaml", "secret.example.yaml"}
    assert set(listed["resources"]) == {file.name for file in MANIFESTS} - others
    assert listed["configMapGenerator"][0]["files"] == ["kfbot.toml"]


def test_the_pod_has_settings_that_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [container] = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given.pop("KFBOT_SETTINGS") == "/etc/kfbot/kfbot.toml"
    monkeypatch.setenv("KFBOT_SETTINGS", str(DEPLOY / "kubernetes" / "kfbot.toml"))
    settings = read_with(given, tmp_path, monkeypatch)
    assert settings.database_url.startswith("postgresql")
    assert list(settings.knowledge) == ["shop"]
    keys = {Path(value).name for name, value in given.items() if name.endswith("_FILE")}
    assert keys <= set(of_kind("Secret")["stringData"])


def test_what_the_pod_mounts_and_selects_is_there() -> None:
    pod = of_kind("Deployment")["spec"]["template"]
    [container] = pod["spec"]["containers"]
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["spec"]["volumes"]}
    labels = pod["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"] == labels
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert of_kind(kind)["spec"][field]["matchLabels"] == labels


# Stopping


def test_everybody_waits_as_long_as_a_stop_takes() -> None:
    """The last word is the operating system's kill; nothing is lost by it, but it is not nice."""
    takes = DRAIN_SECONDS + SHUTDOWN_SECONDS
    unit = (DEPLOY / "kfbot.service").read_text(encoding="utf-8")
    [patience] = [line for line in unit.splitlines() if line.startswith("TimeoutStopSec=")]
    assert int(patience.partition("=")[2]) > takes
    assert (
        of_kind("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > takes
    )
    for file in COMPOSE:
        for service in yaml.safe_load(file.read_text(encoding="utf-8"))["services"].values():
            if service["image"].startswith("kfbot:"):
                assert int(service["stop_grace_period"].rstrip("s")) > takes


def test_the_unit_sets_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = (DEPLOY / "kfbot.service").read_text(encoding="utf-8")
    lines = [line.partition("=")[2] for line in unit.splitlines() if line[:12] == "Environment="]
    given = dict(line.split("=", 1) for line in lines)
    given.pop("KFBOT_SETTINGS")
    read_with({k: v for k, v in given.items() if k[:6] == "KFBOT_"}, tmp_path, monkeypatch)
    assert os.path.isabs(given["HOME"])
