"""The knowledge base: loading, embedding, index, retrieval, evaluation."""

# First of all: it keeps the libraries that are imported below here from reporting to their makers.
import kfbot  # noqa: F401
