"""The judge: how good an encoder is, with intervals and chance levels, on pictures that it has not learned from."""
