"""What systems that remember triples share: a table of them, and how calls are decoded."""
