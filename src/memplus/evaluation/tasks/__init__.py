"""What is told and asked."""
