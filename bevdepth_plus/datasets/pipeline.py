"""Pipelines whose steps have names, so that a config changes one step without counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

LAST = "pack"


def steps(
    pipeline: Sequence[dict | Callable] | Mapping[str, dict | None],
) -> list[dict | Callable]:
    """The steps of a pipeline in the order they run.

    A pipeline is a list, as everywhere in mmengine, or a dict of named steps. Those run in the
    dict's order, in which a step that a derived config adds comes after those of its base; only
    ``pack`` always runs last. A step set to None is left out.
    """
    if not isinstance(pipeline, Mapping):
        return list(pipeline)
    names = [name for name in pipeline if name != LAST] + [LAST] * (LAST in pipeline)
    return [pipeline[name] for name in names if pipeline[name] is not None]
