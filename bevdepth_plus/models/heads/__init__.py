"""Heads: what is read out of the encoded BEV map. Any number of them side by side."""
