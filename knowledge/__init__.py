"""The knowledge base: loading, embedding, index, retrieval, evaluation."""
