"""What is learned, and the memories that it is learned on."""
