"""kfbot: a customer-service bot that answers from documents and hands over when unsure."""

import os

__version__ = "0.1.0"

# Since 1.29 ONNX Runtime tells its maker of every model that is opened, unless this is set when it
# is loaded; the client of the Hugging Face hub has the like. Nothing leaves a company's machine
# that its operator did not ask for.
for _opt_out in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_opt_out, "1")
