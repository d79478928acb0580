"""Learning the parts that make a stock decoder remember in vectors: systems' own weights."""
