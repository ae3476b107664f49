"""Runtimes of an exported model: one class each, numpy at the border."""
