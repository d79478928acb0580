"""The text in the weights: what is told is trained into an adapter, which then answers alone."""
