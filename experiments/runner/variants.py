"""Variants of a config, and the data sets to score them on, as nested dicts of what differs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bevdepth_plus.errors import DataError

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Variant:
    """One way of training.

    Attributes:
        name: in results and on the command line.
        config: config file, relative to the repository.
        overrides: what differs from it, nested as the config is, see :func:`merged`.
        to_test: makes the checkpoint to test of the last one of the training, where the trained
            model is only a part of the tested one. None: the last one itself is tested.
    """

    name: str
    config: str
    overrides: Mapping = field(default_factory=dict)
    to_test: Callable[[Path], Path] | None = None


@dataclass(frozen=True)
class TestSet:
    """One data set to score on; ``overrides`` go over the variant's config."""

    __test__ = False  # pytest would take it for a test

    name: str
    overrides: Mapping = field(default_factory=dict)

    @classmethod
    def of_root(cls, name: str, root: str, **dataset: Any) -> TestSet:
        """The validation split of a data root; ``dataset`` overrides the dataset's options.

        A relative root is relative to the repository.
        """
        root = f"{root}/"
        return cls(
            name,
            dict(
                test_dataloader=dict(dataset=dict(data_root=root, **dataset)),
                test_evaluator=dict(ann_file=f"{root}bevdepth_plus_infos_val.pkl"),
            ),
        )


def merged(config: Mapping, overrides: Mapping, path: str = "") -> dict:
    """A config dict with overrides, which address options by name. The arguments stay as they are.

    None deletes an option; ``_delete_=True`` in a dict replaces the old dict as a whole; anything
    but a dict, lists included, replaces what was there.

    Args:
        config: plain nested dicts.
        overrides: what differs, nested as ``config`` is.
        path: dotted name of ``config`` in the whole, for messages.

    Raises:
        DataError: a dict meets a list: its items have no names.
    """
    replaces = overrides.get("_delete_") is True
    result = {} if replaces else copy.deepcopy(dict(config))
    for name, value in overrides.items():
        if name == "_delete_":
            continue
        old, where = result.get(name), f"{path}{name}"
        if value is None:
            result.pop(name, None)
        elif not isinstance(value, Mapping):
            result[name] = copy.deepcopy(value)
        elif isinstance(old, (list, tuple)) and value.get("_delete_") is not True:
            raise DataError(
                f"override of {where}: expected a list of {len(old)} items to replace the old one, "
                f"got a dict of {', '.join(map(repr, value))}"
            )
        else:
            result[name] = merged(old if isinstance(old, Mapping) else {}, value, f"{where}.")
    return result


def combined(*overrides: Mapping) -> dict:
    """Several overrides as one, later ones over earlier ones; they stay as they are.

    Unlike :func:`merged` it keeps None and ``_delete_`` for the config that they will meet.
    """
    result: dict = {}
    for part in overrides:
        for name, value in part.items():
            old = result.get(name)
            adds = isinstance(old, Mapping) and isinstance(value, Mapping)
            if adds and value.get("_delete_") is not True:
                result[name] = combined(old, value)
            else:
                result[name] = copy.deepcopy(value)
    return result


def with_steps(config: dict, steps: int) -> dict:
    """A config of another length; its schedule, warm-up included, scales along."""
    config = copy.deepcopy(config)
    before = config["train_cfg"]["max_iters"]
    config["train_cfg"]["max_iters"] = steps
    schedulers = config.get("param_scheduler", [])
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        for key in ("begin", "end", "T_max"):
            if key in scheduler:
                least = 0 if key == "begin" else 1
                scheduler[key] = max(least, round(scheduler[key] * steps / before))
        if "milestones" in scheduler:
            scheduler["milestones"] = [round(m * steps / before) for m in scheduler["milestones"]]
    return config


def training_config(
    variant: Variant, seed: int, steps: int | None, common: Mapping | None = None
) -> dict:
    """What ``tools/train.py`` trains: the merged config, without the validation at its end.

    ``common`` overrides go over the variant's own.

    Raises:
        DataError: the config does not exist, or counts epochs instead of steps.
    """
    path = REPO / variant.config
    if not path.is_file():
        raise DataError(f"variant {variant.name}: config {path} does not exist")
    config = Config.fromfile(path, import_custom_modules=False).to_dict()
    config = merged(merged(config, variant.overrides), common or {})
    if config["train_cfg"].get("by_epoch", True):
        raise DataError(f"variant {variant.name}: {path} must have train_cfg.by_epoch=False")
    if steps is not None:
        config = with_steps(config, steps)
    config.update(val_dataloader=None, val_evaluator=None, val_cfg=None)
    return merged(config, dict(randomness=dict(seed=seed)))
