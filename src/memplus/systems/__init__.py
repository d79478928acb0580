"""Every way of remembering behind one door: text goes in, questions are answered."""
