"""Runs git: with a time limit, asking nobody anything, running nothing that a repository brings."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from knowledge.sources.contract import without_credentials

_SHOWN_CHARS = 200
#: They would have git work on another repository than the one meant.
_ELSEWHERE = re.compile(
    r"GIT_(?:DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|NAMESPACE|.*OBJECT_DIRECTOR.*)"
)
#: A repository's own settings and hooks may name programs to run.
_NOTHING_FOREIGN = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.quotePath=false",
    "-c", "submodule.recurse=false",
    "-c", "credential.interactive=false",
    "-c", "gc.autoDetach=false",
    "-c", "gc.pruneExpire=now",
)  # fmt: skip


class GitFault(Exception):
    """git did not do it; the text says why, without user names and passwords."""


def is_installed() -> bool:
    """True where there is a git to run."""
    return shutil.which("git") is not None


def run_git(
    arguments: Sequence[str],
    folder: Path,
    *,
    timeout_seconds: float,
    settings: Mapping[str, str] | None = None,
) -> bytes:
    """What git writes.

    Args:
        folder: Where it runs.
        settings: Of git's, for this once; no other user sees them.

    Raises:
        GitFault: It is not there, takes too long, or fails.
    """
    git = shutil.which("git")
    if git is None:
        raise GitFault("git is not installed")
    try:
        with subprocess.Popen(  # noqa: S603
            [git, *_NOTHING_FOREIGN, *arguments],
            cwd=folder,
            env=_environment(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as process:
            try:
                written, said = process.communicate(timeout=timeout_seconds)
            except BaseException:
                # What it started for the network goes with it.
                os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        raise GitFault(f"git takes longer than {timeout_seconds:.0f} s") from None
    except OSError as error:
        raise GitFault(f"git cannot be run: {error.strerror}") from error
    if process.returncode:
        raise GitFault(_said(said))
    return written


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not _ELSEWHERE.fullmatch(name)},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:file",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def _said(stderr: bytes) -> str:
    """The line of git's that says most."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    telling = [line for line in lines if re.match(r"(?:fatal|error|remote|ERROR):", line)]
    said = (telling or [line for line in lines if line] or ["it says nothing"])[0]
    return without_credentials(f"git: {said[:_SHOWN_CHARS]}")
