"""Official BEVDepth: its configs and weights in this project's form, and proof that they agree."""
