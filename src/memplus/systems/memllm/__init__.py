"""MemLLM (2404.11672): a model that writes triples into a memory and reads them as it generates."""
