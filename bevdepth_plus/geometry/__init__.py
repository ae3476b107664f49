"""Pure functions of tensors: no mm* import, no registry, no state."""
