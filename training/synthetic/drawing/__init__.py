"""Pictures of the synthetic organisms: one module per body plan, outlines, colours and paint."""
