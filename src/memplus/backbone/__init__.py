"""Stock decoders as memplus sees them: the only room that imports transformers and peft."""
