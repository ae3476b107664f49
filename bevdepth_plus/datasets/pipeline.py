"""Pipelines whose steps have names, so that a config changes one step without counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bevdepth_plus.errors import DataError

ORDER = "order"


def steps(
    pipeline: Sequence[dict | Callable] | Mapping[str, dict | Sequence[str] | None],
) -> list[dict | Callable]:
    """The steps of a pipeline in the order they run.

    A pipeline is a list, as everywhere in mmengine, or a dict of named steps with one more key,
    ``order``: the names in the order they run. A name in ``order`` without a step, or with None,
    is left out, so one order serves several pipelines. The order of the dict itself does not
    count: mmengine sorts the keys when it writes a config into a work dir.

    Raises:
        DataError: ``order`` is missing, or does not name one of the steps.
    """
    if not isinstance(pipeline, Mapping):
        return list(pipeline)
    named = {name: step for name, step in pipeline.items() if name != ORDER and step is not None}
    order = pipeline.get(ORDER)
    if order is None:
        raise DataError(
            f"a pipeline of named steps ({', '.join(named)}) needs `order`, the list of these "
            "names in the order they run"
        )
    missing = [name for name in named if name not in order]
    if missing:
        raise DataError(
            f"the pipeline's `order` ({', '.join(order)}) does not say when {', '.join(missing)} "
            "runs; give the dataset's pipeline an order that does"
        )
    return [named[name] for name in order if name in named]
