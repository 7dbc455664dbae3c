"""The corpus: what is stored, how it is made, how it is read."""
