"""Structure in a space of vectors that nobody asked for, measured with intervals and nulls."""
