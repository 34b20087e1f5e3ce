"""Decoders to train, corpora to train them on, and the traces recorded from them."""
