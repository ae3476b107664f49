"""How the inner loops are compiled.

Compiled code is kept per machine, and made anew when the file of a function changes (not when
this file or a called function's file does).
"""

from __future__ import annotations

from numba import njit

# Division by zero gives inf, as in C.
compiled = njit(cache=True, error_model="numpy")

# For functions that run per pixel: one inlined whole, without reference counts. Otherwise numba
# counts every array that is handed on, atomically, which takes ten times as long as the colouring
# itself. Such a function must not create arrays.
compiled_lean = njit(cache=True, error_model="numpy", inline="always", _nrt=False)
