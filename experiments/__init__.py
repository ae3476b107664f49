"""Questions that need training to answer. See README.md beside this file."""
