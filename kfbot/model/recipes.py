"""What to run elsewhere for a model on several GPUs or machines: vLLM's command, and Ray Serve.

vLLM: https://docs.vllm.ai/en/stable/cli/serve/ and …/features/lora/.
Ray: https://docs.ray.io/en/latest/serve/llm/user-guides/configuration.html
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from string import Template

from kfbot.errors import SettingsError
from kfbot.model.serving import Served
from kfbot.model.weights import check_adapter, check_model

#: Ranks that vLLM's --max-lora-rank takes.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_RAY = Template('''"""$name with Ray Serve.

pip install 'ray[llm]'; ray start --head; python serve_model.py
"""

from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app

model = LLMConfig(
    # The folder must be there on every machine of the cluster.
    model_loading_config={"model_id": $name_json, "model_source": $source_json},
    # One more copy, on whatever machine has room, while more than 32 questions wait for one.
    deployment_config={
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 32}
    },
    engine_kwargs={
        "dtype": $dtype_json,
        "max_model_len": $context_tokens,
        # GPUs of one machine that hold a copy together; across machines: pipeline_parallel_size.
        "tensor_parallel_size": $gpus,
    },
)
serve.start(http_options={"host": $host_json, "port": $port})
serve.run(build_openai_app({"llm_configs": [model]}), blocking=True)
''')


def vllm_command(served: Served, *, gpus: int, context_tokens: int) -> tuple[str, str]:
    """The command that serves a model with vLLM, an adapter beside it, and the name to ask for.

    Raises:
        SettingsError: There is no such model, the adapter does not fit, or is none that vLLM takes.
    """
    folder = check_model(served.model)
    name = folder.name if folder else served.model
    parts = [
        f"vllm serve {shlex.quote(str(folder or served.model))}",
        f"--served-model-name {shlex.quote(name)}",
        f"--host {served.host} --port {served.port or 8000}",
        f"--dtype {served.dtype} --max-model-len {context_tokens}",
        f"--tensor-parallel-size {gpus}",
    ]
    if served.quantization:
        parts.append("--quantization bitsandbytes")
    if served.adapter is not None:
        adapter = served.adapter.expanduser().resolve()
        check_adapter(adapter, served.model)
        parts.append(f"--enable-lora --max-lora-rank {_rank(adapter)}")
        parts.append(f"--lora-modules {shlex.quote(f'{adapter.name}={adapter}')}")
        name = adapter.name
    return " \\\n  ".join(parts), name


def ray_deployment(served: Served, folder: Path | None, *, gpus: int, context_tokens: int) -> str:
    """A Python file that serves a model with Ray Serve on several machines.

    Args:
        folder: Where the model is, its adapter merged into it; None: on the hub.
    """
    name = folder.name if folder else served.model
    return _RAY.substitute(
        name=name,
        name_json=json.dumps(name),
        source_json=json.dumps(str(folder or served.model)),
        dtype_json=json.dumps(served.dtype),
        host_json=json.dumps(served.host),
        port=served.port or 8000,
        gpus=gpus,
        context_tokens=context_tokens,
    )


def _rank(adapter: Path) -> int:
    settings = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    if settings.get("peft_type") != "LORA":
        raise SettingsError(f"{adapter}: vLLM takes LoRA adapters only: serve it without --print")
    ranks = [settings.get("r", 8), *(settings.get("rank_pattern") or {}).values()]
    fitting = [rank for rank in _RANKS if rank >= max(ranks)]
    if not fitting:
        raise SettingsError(f"{adapter}: vLLM takes no rank above {_RANKS[-1]}")
    return fitting[0]
