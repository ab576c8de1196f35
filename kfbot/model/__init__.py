"""Chat models: endpoints that are asked, serving one, tuning one. Knows LlamaIndex and torch."""
