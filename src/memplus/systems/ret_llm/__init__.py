"""RET-LLM (2305.14322): triples that a tuned model writes and reads by calls in plain text."""
