"""Models tuned on the operator's own cases: the data, the chat model, the embedding model."""
