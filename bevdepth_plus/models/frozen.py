"""Parts of a model that do not train."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def freeze(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Compute no gradients for parts of a model, and return these parts.

    A frozen part's normalisation must keep its statistics, too: call ``eval()`` on it whenever the
    model is put into training.

    Args:
        names: dotted, such as ``temporal.encoder`` or ``heads.boxes.task_heads``.

    Raises:
        ValueError: the model has no such part.
    """
    try:
        parts = [model.get_submodule(name) for name in names]
    except AttributeError as error:
        raise ValueError(f"frozen={list(names)}: the model has no such part: {error}") from None
    for part in parts:
        part.requires_grad_(False)
    return parts
