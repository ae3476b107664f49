"""How the inner loops are compiled."""

from __future__ import annotations

from numba import njit

# Compiled once per machine and kept; division by zero gives inf, as in C.
compiled = njit(cache=True, error_model="numpy")

# For functions that run per pixel: no reference counts. With them numba counts every array that
# is handed on, atomically, which takes five times as long as the colouring itself. Such a
# function must not create arrays.
compiled_lean = njit(cache=True, error_model="numpy", _nrt=False)
