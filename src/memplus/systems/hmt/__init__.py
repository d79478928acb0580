"""HMT (2405.06067): one vector a segment, retrieved by a summary of the segment that is next."""
