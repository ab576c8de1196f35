"""Tables of the knowledge bases: what is loaded, from which files, and how it is calibrated."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.store.tables.columns import BigId, UtcTime, metadata, row_id

knowledge_base = sa.Table(
    "knowledge_base",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    #: What is in force. Raised by every load that changed something; names the index folder.
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    #: Chance makes it with the generation: a restored database counts the same numbers again.
    sa.Column("revision", sa.Text, nullable=False, default="", server_default=""),
    #: The revision of the generation before, which can be had back; "": there is none.
    sa.Column("previous_revision", sa.Text, nullable=False, default="", server_default=""),
    #: It was taken back to the generation before: only a person has it loaded again.
    sa.Column("rolled_back", sa.Boolean, nullable=False, default=False, server_default="0"),
    #: The embedding model that made the vectors; another one means embedding again.
    sa.Column("embedding_key", sa.Text, nullable=False, default=""),
    sa.Column("loaded_at", UtcTime),
    #: Lines "name: reason" of the last load.
    sa.Column("unreadable", sa.JSON, nullable=False, default=list),
    #: How often each step of reading and cleaning did something, in what is loaded.
    sa.Column("counts", sa.JSON, nullable=False, default=dict, server_default="{}"),
)

#: A file as the last load found it: while nothing of this changes it is not read again.
knowledge_file = sa.Table(
    "knowledge_file",
    metadata,
    sa.Column("knowledge_base", sa.Text, sa.ForeignKey("knowledge_base.name"), primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified_ns", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    #: The version of the readers and the cleaning policy that it was read with.
    sa.Column("read_key", sa.Text, nullable=False),
    sa.Column("unreadable", sa.JSON, nullable=False, default=list),
    sa.Column("counts", sa.JSON, nullable=False, default=dict),
)

#: How far the estimates for a knowledge base are off; see `kfbot.calibration.Calibration`.
calibration = sa.Table(
    "calibration",
    metadata,
    sa.Column("knowledge_base", sa.Text, sa.ForeignKey("knowledge_base.name"), primary_key=True),
    #: What was measured: with another model or other signals it holds no more.
    sa.Column("embedding_key", sa.Text, nullable=False),
    sa.Column("signals", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("made_at", UtcTime, nullable=False),
    #: Where the questions came from: "operator" or "knowledge base".
    sa.Column("source", sa.Text, nullable=False),
    #: How many questions of each sort.
    sa.Column("counts", sa.JSON, nullable=False),
    #: By kind of passage.
    sa.Column("adjustments", sa.JSON, nullable=False),
)

#: In force from generation `since` on and before generation `until`. What a load that is under
#: way, or was broken off, has made bears the generation that is to come.
knowledge_document = sa.Table(
    "knowledge_document",
    metadata,
    row_id(),
    sa.Column("knowledge_base", sa.Text, sa.ForeignKey("knowledge_base.name"), nullable=False),
    #: The operator's id: FAQ id or path relative to the source folder.
    sa.Column("document_id", sa.Text, nullable=False),
    sa.Column("since", sa.Integer, nullable=False, default=1, server_default="1"),
    sa.Column("until", sa.Integer),
    #: The embedding model of its vectors.
    sa.Column("embedding_key", sa.Text, nullable=False, default="", server_default=""),
    #: faq | document
    sa.Column("kind", sa.Text, nullable=False),
    #: file | approved | chat: a reload removes only what came from files.
    sa.Column("source", sa.Text, nullable=False, default="file"),
    #: Path of the file that it came from, as configured.
    sa.Column("path", sa.Text, nullable=False, default=""),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False, default=""),
    sa.Column("url", sa.Text, nullable=False, default=""),
    #: FAQ: the answer. Document: "".
    sa.Column("answer", sa.Text, nullable=False, default=""),
    #: What filters may ask for: product, version, date, language, …
    sa.Column("fields", sa.JSON, nullable=False, default=dict, server_default="{}"),
    #: By which documents that say the same are found.
    sa.Column("signature", sa.LargeBinary, nullable=False, default=b"", server_default=""),
    #: So many questions a chat model was asked for of each chunk; -1: of some it was not yet.
    sa.Column("asked", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Index("uq_knowledge_document", "knowledge_base", "document_id", "since", unique=True),
    sa.Index("ix_knowledge_document_until", "knowledge_base", "until"),
)

#: What is searched: a passage of a document, a question that one answers, or the question or a
#: variant of an FAQ entry.
knowledge_chunk = sa.Table(
    "knowledge_chunk",
    metadata,
    #: uuid5 of knowledge base, generation, document id and position.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column(
        "document_pk",
        BigId,
        sa.ForeignKey("knowledge_document.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("heading", sa.Text, nullable=False, default=""),
    sa.Column("text", sa.Text, nullable=False),
    #: The page that it begins on; 0: the format has no pages.
    sa.Column("page", sa.Integer, nullable=False, default=0, server_default="0"),
    #: float16, little-endian, L2-normalised.
    sa.Column("vector", sa.LargeBinary, nullable=False),
    #: Terms and their counts, for BM25.
    sa.Column("terms", sa.JSON, nullable=False),
    #: Of a question that a chat model wrote: the position of the chunk that answers it.
    sa.Column("asks", sa.Integer),
    sa.Index("ix_knowledge_chunk_document_pk", "document_pk"),
)

#: Documents that came over the API: sources lie elsewhere, these nowhere else.
upload = sa.Table(
    "upload",
    metadata,
    sa.Column("knowledge_base", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("uploaded_at", UtcTime, nullable=False),
)
