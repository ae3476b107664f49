"""Compare nested dicts and lists of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from bevdepth_plus.comparison import Comparison, compare


def compare_nested(name: str, actual: object, expected: object) -> dict[str, Comparison]:
    """Compare every tensor of nested dicts and lists; ours may hold more than the record.

    Raises:
        ValueError: ours lacks something, or has another shape.
    """
    if isinstance(expected, Tensor):
        return {name: compare(name, actual, expected)}
    if isinstance(expected, Mapping) and isinstance(actual, Sequence):
        return _compare_layers(name, actual, expected)
    found: dict[str, Comparison] = {}
    if isinstance(expected, Mapping):
        missing = sorted(key for key in expected if _holds_tensors(expected[key]))
        missing = [key for key in missing if key not in actual]
        if missing:
            raise ValueError(f"{name}: recorded tensors our run does not produce: {missing}")
        pairs = [(f".{key}", actual[key], expected[key]) for key in expected if key in actual]
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        pairs = [(f"[{i}]", *both) for i, both in enumerate(zip(actual, expected, strict=True))]
    else:
        pairs = []
    for key, ours, record in pairs:
        found.update(compare_nested(name + key, ours, record))
    return found


def _compare_layers(name: str, layers: Sequence, expected: Mapping) -> dict[str, Comparison]:
    """Records of some decoder layers: first, middle and last, or by their number."""
    index = {"first": 0, "mid": len(layers) // 2, "last": len(layers) - 1}
    return {
        f"{name}.{key}": compare(f"{name}.{key}", layers[index.get(key, key)], record)
        for key, record in expected.items()
    }


def _holds_tensors(record: object) -> bool:
    if isinstance(record, Mapping):
        return any(map(_holds_tensors, record.values()))
    if isinstance(record, Sequence) and not isinstance(record, str):
        return any(map(_holds_tensors, record))
    return isinstance(record, Tensor)
