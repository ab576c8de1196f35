"""Which split an example is in: by hash, so that what comes later moves nothing."""

from __future__ import annotations

from hashlib import sha256

from kfbot.model.tuning.examples import SPLITS, Split

#: Shares of the splits, in their order.
SHARES = (0.8, 0.1, 0.1)


def fraction_of(key: str, seed: int) -> float:
    """A number from 0 up to 1 that is always the same for a key."""
    digest = sha256(f"{seed}\0{key}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


class Splitter:
    """Assigns splits. The document decides; a conversation stays where it was put first.

    What would put a conversation into a second split has none: documents and conversations are
    linked everywhere, and to keep all that is linked together would put nearly all in one split.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._conversations: dict[str, Split] = {}

    def of_document(self, document: str) -> Split:
        """The split of a document, and of each passage of it."""
        return self._of(f"document\0{document}")

    def place(self, document: str, conversation: str) -> Split | None:
        """The split of an example; "": it has no document, or no conversation.

        None: its conversation is in another split already.
        """
        if not document and conversation in self._conversations:
            return self._conversations[conversation]
        split = (
            self.of_document(document) if document else self._of(f"conversation\0{conversation}")
        )
        if conversation and self._conversations.setdefault(conversation, split) != split:
            return None
        return split

    def _of(self, key: str) -> Split:
        fraction = fraction_of(key, self._seed)
        below = 0.0
        for split, share in zip(SPLITS, SHARES, strict=True):
            below += share
            if fraction < below:
                return split
        return SPLITS[-1]
