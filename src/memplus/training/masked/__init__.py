"""Learning an adapter from texts of which only some spans are learned."""
