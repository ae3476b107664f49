"""Camera-only 3D detection with metric depth: a plugin for mmdet3d 1.x.

Importing this package imports nothing else; each tool imports what it needs.
"""

__version__ = "0.1.0"
