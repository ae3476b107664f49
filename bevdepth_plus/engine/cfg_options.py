"""``--cfg-options``: each one takes effect or is refused, never silently ignored."""

from __future__ import annotations

import ast
import inspect
import tempfile
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from bevdepth_plus.errors import DataError

# Top-level names that the runner, its environment or a tool reads. Other top-level names of a
# config are its own variables: they matter only where the config file uses them.
READ = (
    *list(inspect.signature(Runner.__init__).parameters)[1:],
    *("runner_type", "custom_imports", "find_unused_parameters", "model_wrapper_cfg"),
    *("sync_bn", "compile", "activation_checkpointing", "efficient_conv_bn_eval"),
)
_LOADER_KEYS = (*inspect.signature(DataLoader.__init__).parameters, "num_batch_per_epoch")
_EVERYWHERE = ("type", "_scope_", "_delete_")


def load_with_options(path: str, options: Mapping[str, Any]) -> Config:
    """A config file with ``--cfg-options``.

    ``key.of.a.setting=value`` replaces one setting. ``variable=value`` replaces a top-level
    variable of the config files (``data_root``, ``num_frames``) before they use it.

    Raises:
        DataError: an option names nothing that is read.
    """
    cfg = Config.fromfile(path)
    variables = {key: value for key, value in options.items() if key in cfg and key not in READ}
    if variables:
        plain, cfg = cfg, _with_variables(Path(path), variables)
        _require_effect(plain, cfg, variables)
    for key, value in options.items():
        if key in variables:
            continue
        _require_known(cfg, key)
        try:
            cfg.merge_from_dict({key: value})
        except (TypeError, KeyError, IndexError) as error:
            raise DataError(f"--cfg-options {key}={value} cannot be set: {error}") from None
    return cfg


def _with_variables(path: Path, variables: Mapping[str, Any]) -> Config:
    """The config of copies of the files in which the variables have other values."""
    with tempfile.TemporaryDirectory() as folder:
        return Config.fromfile(_rewrite(path.resolve(), variables, Path(folder)))


def _rewrite(path: Path, variables: Mapping[str, Any], folder: Path) -> Path:
    """Copies a config file and its bases into ``folder``; returns the copy."""
    if path.suffix != ".py":
        raise DataError(
            f"--cfg-options {next(iter(variables))}=... needs config files in Python, {path} is not"
        )
    text = path.read_text()
    # From the last line to the first, so that earlier positions stay right.
    for node in reversed(ast.parse(text).body):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        name = node.targets[0].id
        if name == "_base_":
            bases = ast.literal_eval(node.value)
            bases = [bases] if isinstance(bases, str) else bases
            copies = [_rewrite_base(path, base, variables, folder) for base in bases]
            text = _replaced(text, node, f"_base_ = {copies!r}")
        elif name in variables:
            text = _replaced(text, node, f"{name} = {variables[name]!r}")
    copy = folder / str(len(list(folder.iterdir()))) / path.name
    copy.parent.mkdir()
    copy.write_text(text)
    return copy


def _rewrite_base(path: Path, base: str, variables: Mapping[str, Any], folder: Path) -> str:
    if "::" in base:  # a config of another library
        return base
    return str(_rewrite((path.parent / base).resolve(), variables, folder))


def _replaced(text: str, node: ast.Assign, line: str) -> str:
    lines = text.splitlines(keepends=True)
    lines[node.lineno - 1 : node.end_lineno] = [line + "\n"]
    return "".join(lines)


def _require_effect(plain: Config, changed: Config, variables: Mapping[str, Any]) -> None:
    same = all(plain.get(key) == changed.get(key) for key in READ)
    differs = [key for key, value in variables.items() if plain[key] != value]
    if same and differs:
        raise DataError(
            f"--cfg-options {differs[0]}=... changes nothing: no setting of the config uses it; "
            f"name a setting below {_listed(READ, plain)}"
        )


def _require_known(cfg: Config, key: str) -> None:
    """Refuses a key that no part of the config reads.

    Raises:
        DataError: naming the nearest key that exists.
    """
    parts = key.split(".")
    if parts[0] not in READ:
        if parts[0] not in cfg:
            raise _unknown(key, parts[0], [*cfg, *READ])
        raise DataError(
            f"--cfg-options {key}: {parts[0]} is a variable of the config file, which copies it; "
            f"set the copy, below {_listed(READ, cfg)}"
        )
    node: Any = cfg
    for depth, part in enumerate(parts):
        if isinstance(node, Sequence) and not isinstance(node, str):
            if not part.isdecimal() or int(part) >= len(node):
                raise DataError(
                    f"--cfg-options {key}: {'.'.join(parts[:depth])} is a list of {len(node)}, "
                    f"{part!r} is not one of its places"
                )
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            if isinstance(node, Mapping) and depth > 0:
                _require_accepted(node, part, key, parts[depth - 1])
            return


def _require_accepted(node: Mapping, part: str, key: str, parent: str) -> None:
    """Whether what a dict of the config builds takes a setting that the config does not have."""
    accepted = _LOADER_KEYS if parent.endswith("dataloader") else accepted_names(node.get("type"))
    if accepted is None:
        near = get_close_matches(part, list(node), n=1, cutoff=0.8)
        if near:
            raise _unknown(key, part, list(node))
    elif part not in accepted and part not in _EVERYWHERE:
        raise _unknown(key, part, [*node, *accepted])


def accepted_names(type_name: Any) -> set[str] | None:
    """Arguments of a registered class; None where they cannot be told."""
    built = _registered(type_name)
    if built is None:
        return None
    if not inspect.isclass(built):
        parameters = inspect.signature(built).parameters.values()
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
        return None if open_ended else {p.name for p in parameters}
    names: set[str] = set()
    for cls in built.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return names


def _registered(type_name: Any) -> Any:
    if not isinstance(type_name, str):
        return type_name
    from mmdet3d import registry  # slow to import, and rarely needed

    registries = [r for r in vars(registry).values() if isinstance(r, Registry)]
    for candidates in registries:
        found = candidates.get(type_name)
        if found is not None:
            return found
    return None


def _unknown(key: str, part: str, known: Collection[str]) -> DataError:
    near = get_close_matches(part, sorted(set(known)), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(set(known)))}"
    return DataError(f"--cfg-options {key}: nothing reads {part!r}; {hint}")


def _listed(names: Sequence[str], cfg: Config) -> str:
    return ", ".join(name for name in names if isinstance(cfg.get(name), Mapping))
