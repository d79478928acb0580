"""Tensors of one memory: both pools, the retriever, the file. Does not import transformers."""
