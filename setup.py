"""For tools that still call `setup.py`; pyproject.toml describes the package.

The op is a sub-tree of its own, with its own setup.py: `pip install ./ops`.
"""

from setuptools import setup

setup()
