"""The child of `kfbot model serve`: `transformers serve`, which ends with whoever started it.

`python -m kfbot.model.served DEVICE ARGUMENT…`; its standard input stays open as long as it is
wanted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

#: What it says about itself begins so.
MARK = "kfbot: "
#: Share of the machine's free memory that keys and values may take; the whole of a GPU's is its
#: own, but filling most of a machine's takes minutes.
CPU_CACHE = 0.1
#: Connections that are open may end their answers so long.
STOP_SECONDS = 5.0


def main() -> None:
    """Serve until standard input ends, or SIGTERM."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    device = _device(sys.argv[1])
    from huggingface_hub.constants import HF_HUB_CACHE
    from transformers.cli.transformers import app

    # GET /v1/models lists this folder, and fails where it is missing.
    Path(HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
    sys.argv[1:] = [*sys.argv[2:], "--device", device]
    if device == "cpu":
        sys.argv += ["--cb-max-memory-percent", str(CPU_CACHE)]
    app()


def _device(wanted: str) -> str:
    import torch

    if wanted != "cpu" and torch.cuda.is_available():
        _say(f"device {torch.cuda.get_device_name()}")
        return "cuda" if wanted == "auto" else wanted
    if wanted not in ("auto", "cpu"):
        _say("no CUDA")
        sys.exit(1)
    _say("device CPU")
    return "cpu"


def _say(text: str) -> None:
    sys.stderr.write(f"{MARK}{text}\n")
    sys.stderr.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
