"""What clients send and are sent: one model for each body, checked and documented."""
