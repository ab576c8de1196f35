"""Keeps one built graph for all processes: built once, in a child process, under a lock."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.e5.precision import Precision
from knowledge.e5.weights import SHA256

#: Raise it when graph.py or tokenizer.py change what comes out: vectors are then made anew.
BUILDER_VERSION = 1
WEIGHTS_KEY = f"{SHA256[:12]}-b{BUILDER_VERSION}"

_BUILD_TIMEOUT_SECONDS = 300
_CHECKOUT = Path(__file__).resolve().parents[2]


class GraphCache:
    """The graphs in one folder, one a precision and version of the builder."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._folder = folder.resolve()
        self._report = report

    def prepare(self, precision: Precision) -> Path:
        """Return the graph, built now if there is none.

        Raises:
            KnowledgeBaseUnavailable: The graph cannot be built or stored.
        """
        path = self._path(precision)
        if not path.exists():
            with self._locked():
                # Whoever waited for the lock finds the other process's graph.
                if not path.exists():
                    self._build(precision, path)
        return path

    def rebuild(self, precision: Precision) -> Path:
        """Build the graph again over one that proved to be bad.

        Raises:
            KnowledgeBaseUnavailable: The graph cannot be built or stored.
        """
        path = self._path(precision)
        with self._locked():
            self._build(precision, path)
        return path

    def _path(self, precision: Precision) -> Path:
        versions = "-".join(metadata.version(name) for name in ("onnx", "onnxruntime"))
        return self._folder / f"e5-{precision}-{WEIGHTS_KEY}-{versions}.onnx"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            # `kfbot check` makes the data folder here, before a server does: for its owner alone.
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(exist_ok=True)
            with (self._folder / "e5.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released by closing, also by a kill
                yield
        except OSError as error:
            raise KnowledgeBaseUnavailable(
                f"The embedding model cannot be kept in {self._folder}: {error}"
            ) from error

    def _build(self, precision: Precision, path: Path) -> None:
        self._report("Preparing the embedding model (once, a few seconds)…")
        partial = path.with_suffix(".partial")
        command = [sys.executable, "-m", "knowledge.e5.build", str(partial), precision]
        try:
            subprocess.run(  # noqa: S603 (our own module, no input from outside)
                command,
                cwd=_CHECKOUT,
                check=True,
                capture_output=True,
                text=True,
                timeout=_BUILD_TIMEOUT_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
            raise KnowledgeBaseUnavailable(
                f"The embedding model could not be prepared: {reason}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise KnowledgeBaseUnavailable(
                f"The embedding model was not prepared within {_BUILD_TIMEOUT_SECONDS} s: "
                "the machine is overloaded or its disk stands still."
            ) from error
        partial.replace(path)
        self._remove_outdated(precision, path)

    def _remove_outdated(self, precision: Precision, path: Path) -> None:
        for other in self._folder.glob(f"e5-{precision}-*.onnx"):
            if other != path:
                other.unlink(missing_ok=True)
