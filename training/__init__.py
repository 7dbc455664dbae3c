"""Makes and judges encoders: text, batches, losses, loop; the synthetic tree of life."""
