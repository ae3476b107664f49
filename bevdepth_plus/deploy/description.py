"""``model.json``: what an exported model is, in words that need no training stack to read.

It lies beside the ONNX files and says everything that a program must know to feed them and to
decode what they return: classes, grid, bins, sizes, names of inputs and outputs, and what was
verified when they were written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.grid_axes import GridAxes
from bevdepth_plus.rigs.crop_rule import CropRule

FORMAT_VERSION = 1
FILE_NAME = "model.json"
FORMS = ("one", "parts", "gather")


@dataclass(frozen=True)
class FrustumAxes:
    """Where the rays and planes of the frustum lie.

    Attributes:
        u: column of each feature cell, ``[w]``, pixels of the network's image.
        v: row of each feature cell, ``[h]``, pixels of the network's image.
        depths: of the planes, ``[D]``, metres along the optical axis.
        rounding: ``"floor"``; ``"truncate"`` in converted checkpoints of the public BEVDepth code.
    """

    u: tuple[float, ...]
    v: tuple[float, ...]
    depths: tuple[float, ...]
    rounding: str


@dataclass(frozen=True)
class Decoding:
    """How CenterPoint's maps become boxes.

    Attributes:
        nms_type: ``"circle"``: of two boxes of a task whose centres are nearer than its radius the
            weaker one is dropped.
        squared_radii: of each task, squared metres; empty if ``nms_type`` is another.
        max_per_task: boxes of a task that are kept.
        num_candidates: cells of a task that are looked at, best first.
        score_threshold: boxes must score more.
        centre_limits: where centres may lie: lower x, y, z, then upper x, y, z, metres.
        log_sizes: the ``dim`` maps are logarithms of metres.
    """

    nms_type: str
    squared_radii: tuple[float, ...]
    max_per_task: int
    num_candidates: int
    score_threshold: float
    centre_limits: tuple[float, ...]
    log_sizes: bool


@dataclass(frozen=True)
class ModelFile:
    """A file of the model: its name in the folder, its size in bytes and its SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Verification:
    """How far the files and PyTorch were compared before the folder was written.

    Attributes:
        against: what computed both sides.
        inputs: what they got.
        cells: points of the frustum whose BEV cell was compared; all were equal.
        largest_difference: of each output, relative to its largest value.
        boxes: boxes that PyTorch predicted; each was found again.
        samples: samples compared.
    """

    against: str
    inputs: str
    samples: int
    cells: int
    largest_difference: Mapping[str, float]
    boxes: int


@dataclass(frozen=True)
class ModelDescription:
    """What ``model.json`` holds.

    Attributes:
        form: ``"one"`` graph; ``"parts"``: several, with the pooling between them; ``"gather"``:
            parts whose pooling needs no scatter but index arrays.
        project_version: of bevdepth_plus that wrote it.
        config: name of the config.
        opset: of ONNX's standard operators.
        deformable: ``"DeformConv"``, ``"GridSample"``, or None without deformable convolution.
        classes: names; labels are their indices.
        tasks: classes of each task of the head, in the order of its heatmap's channels.
        outputs: names of the head's maps in the order of the graph's outputs: ``task0.heatmap``,
            ``task0.reg`` and so on; the name of a head that gives one map alone.
        map_layers: names of the channels of the map head's output; empty without one.
        grid, frustum: geometry.
        depth_bins: start, stop and step, metres.
        image_size: ``(H, W)`` of the network's images.
        crop: which part of an image the network gets.
        stride: of the feature cells, network pixels.
        num_frames: moments S that the BEV part takes, key frame first.
        frame_interval: from one of them to the next in training, seconds.
        context_channels: C of one moment's BEV map.
        camera_range: fewest and most cameras that the graphs take.
        refined: the pooling refines the lifted features first, so no other pooling can replace it.
        mean, std: of the normalisation inside the graph, RGB, 0 to 255; for information.
        decoding: of the boxes; None without a box head.
        files: all files but this one.
        verified: None if the files were written without.
    """

    form: str
    project_version: str
    config: str
    opset: int
    deformable: str | None
    classes: tuple[str, ...]
    tasks: tuple[tuple[str, ...], ...]
    outputs: tuple[str, ...]
    map_layers: tuple[str, ...]
    grid: GridAxes
    frustum: FrustumAxes
    depth_bins: tuple[float, ...]
    image_size: tuple[int, ...]
    crop: CropRule
    stride: int
    num_frames: int
    frame_interval: float
    context_channels: int
    camera_range: tuple[int, ...]
    refined: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoding: Decoding | None
    files: tuple[ModelFile, ...]
    verified: Verification | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain content for ``model.json``."""
        return {"format": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Any, source: str = FILE_NAME) -> ModelDescription:
        """The description of ``to_json``'s content.

        Raises:
            DataError: it is of another format version, or a field is missing or of another type.
        """
        if not isinstance(content, Mapping) or "format" not in content:
            raise DataError(f"{source} describes no exported model; give the exported folder")
        version = content["format"]
        if version != FORMAT_VERSION:
            raise DataError(
                f"{source} has format {version}, this version reads {FORMAT_VERSION}; export the "
                "model again or install the version that wrote it"
            )
        plain = {name: value for name, value in content.items() if name != "format"}
        description = _parsed(cls, plain, "", source)
        if description.form not in FORMS:
            raise DataError(f"{source}: form is {description.form!r}, not one of {FORMS}")
        return description

    def file(self, name: str) -> ModelFile | None:
        """The file of that name, or None."""
        return next((file for file in self.files if file.name == name), None)


def read_description(folder: Path) -> ModelDescription:
    """The description in an exported folder.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{path} does not exist; give the folder that tools/export_onnx.py wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {_one_line(error)}") from None
    return ModelDescription.from_json(content, str(path))


def describe_file(path: Path) -> ModelFile:
    """Name, size and digest of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return ModelFile(path.name, path.stat().st_size, digest.hexdigest())


def check_files(description: ModelDescription, folder: Path) -> None:
    """Hold the files of a folder against its description.

    Raises:
        DataError: a file is missing, cut off, or another one.
    """
    again = "copy the whole folder again, or export the model again"
    for expected in description.files:
        path = folder / expected.name
        if not path.is_file():
            raise DataError(f"{path} is missing; {again}")
        size = path.stat().st_size
        if size != expected.bytes:
            raise DataError(f"{path} has {size} bytes of {expected.bytes}; {again}")
        if describe_file(path).sha256 != expected.sha256:
            raise DataError(f"{path} is not the file that {FILE_NAME} describes; {again}")


def _parsed(kind: Any, value: Any, name: str, source: str) -> Any:
    """``value`` as the type that an annotation says; lists become tuples."""
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
    if is_dataclass(kind):
        return _parsed_dataclass(kind, value, name, source)
    if get_origin(kind) in (tuple, Sequence):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise _wrong(name, "a list", value, source)
        item = get_args(kind)[0]
        return tuple(_parsed(item, one, f"{name}[{i}]", source) for i, one in enumerate(value))
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(name, "an object", value, source)
        return dict(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(name, kind.__name__, value, source)
    return value


def _parsed_dataclass(kind: Any, value: Any, name: str, source: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(name, "an object", value, source)
    hints = get_type_hints(kind)
    prefix = f"{name}." if name else ""
    missing = [field.name for field in fields(kind) if field.name not in value]
    if missing:
        raise DataError(f"{source} has no field {prefix}{missing[0]}; export the model again")
    values = {
        field.name: _parsed(hints[field.name], value[field.name], prefix + field.name, source)
        for field in fields(kind)
    }
    try:
        return kind(**values)
    except ValueError as error:
        raise DataError(f"{source}: {name}: {error}") from None


def _wrong(name: str, expected: str, value: Any, source: str) -> DataError:
    return DataError(f"{source}: {name} must be {expected}, got {value!r:.60}; export it again")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
