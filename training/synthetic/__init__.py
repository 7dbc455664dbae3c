"""The synthetic tree of life: species that evolve, are drawn, and keep an ecology that no text names."""
