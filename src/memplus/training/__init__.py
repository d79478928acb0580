"""Training: stages, data made of texts and notes, losses, the loop with its checkpoints."""
