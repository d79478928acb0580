"""What systems that remember in vectors share: segments of tokens in, hidden states out."""
