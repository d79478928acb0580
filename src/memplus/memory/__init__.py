"""Tensors of one memory: pools, stores, retriever, file. Never heard of transformers."""
