"""Heads on the encoded BEV map; a detector may have several."""
