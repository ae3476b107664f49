"""CenterPoint's training targets of a whole batch at once. Source: CenterPoint (CVPR 2021).

The numbers, their order in the slots and the rounding of cells and radii are those of mmdet3d's
``CenterHead.get_targets``. All shapes follow from the shapes of the inputs and nothing is read
back to the host, so a GPU never waits here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid

_MOST_VALUES = 2**23  # of one step of the drawing, 64 MiB in float64


class CenterTargets(NamedTuple):
    """Lists of one tensor for each task, with ``max_objects`` = S slots for the boxes."""

    heatmaps: list[Tensor]  # [B, K, Y, X], 1 at the cell of a box
    boxes: list[Tensor]  # [B, S, 10]: offset in the cell, z, size, sin, cos, velocity
    cells: list[Tensor]  # [B, S], y * X + x
    mask: list[Tensor]  # [B, S], uint8, 1 where the slot holds a box


def center_targets(
    boxes: Sequence[Tensor],  # B x [M, 7 or 9]: gravity centre, size, yaw, velocity; metres
    labels: Sequence[Tensor],  # B x [M], numbered task by task; others belong to no task
    class_counts: Sequence[int],  # of each task
    grid: BEVGrid,
    *,
    max_objects: int,
    min_radius: int,
    min_overlap: float,
    log_size: bool = True,
) -> CenterTargets:
    """Heatmaps, boxes, cells and masks of each task.

    Args:
        max_objects: slots of a sample and task; boxes beyond are left out, the last classes first.
        min_radius: of a drawn Gaussian, cells.
        min_overlap: IoU that a box moved by the radius keeps with the true one.
        log_size: learn the logarithm of the size, not the size.

    A box without velocity gets NaN there, which means unknown. Boxes whose centre is off the grid
    or whose length or width is not positive keep an empty slot.

    Raises:
        DataError: boxes of other than 7 or 9 numbers, or another number of labels than of boxes.
    """
    num_classes = sum(class_counts)
    objects, classes = _sorted_by_class(boxes, labels, num_classes)  # [B, M, 9], [B, M]
    # Where each task begins and ends among the sorted objects, [T + 1, B].
    edges = torch.stack([(classes < c).sum(1) for c in accumulate(class_counts, initial=0)])
    centres = torch.stack([_in_cells(objects[..., axis], grid, axis) for axis in (0, 1)], dim=-1)
    cells = centres.trunc()  # toward 0: up to one cell below the grid counts as in its first cell
    size_x, size_y = grid.size[:2]
    inside = (centres > -1).all(-1) & (cells[..., 0] < size_x) & (cells[..., 1] < size_y)
    in_slot = _slots(edges, classes.shape[1]) < max_objects
    drawn = inside & in_slot & (objects[..., 3:5] > 0).all(-1) & (classes < num_classes)
    radius = _radius(objects, grid, min_overlap).trunc().clamp(min=min_radius)
    numbers = _box_numbers(objects, centres - cells, log_size)  # [B, M, 10]
    index = (cells[..., 1] * size_x + cells[..., 0]).long()
    heatmaps = _heatmaps(cells, radius, drawn, classes, num_classes, grid)  # [B, K, Y, X]
    return CenterTargets(
        [maps.contiguous() for maps in heatmaps.split(list(class_counts), dim=1)],
        *_in_slots(edges, drawn, numbers, index, max_objects),
    )


def _sorted_by_class(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Padded boxes ``[B, M, 9]`` and labels ``[B, M]``, ``num_classes`` where there is no task.

    Objects of one class keep their order. There is at least one entry, so that an index always
    has something to point to.
    """
    rows = [_with_velocity(*sample) for sample in enumerate(zip(boxes, labels, strict=True))]
    device = rows[0].device
    padded = functional.pad(pad_sequence(rows, batch_first=True), (0, 0, 0, 1))
    classes = pad_sequence([found.to(device).long() for found in labels], True, num_classes)
    classes = functional.pad(classes, (0, 1), value=num_classes)
    classes = classes.masked_fill((classes < 0) | (classes > num_classes), num_classes)
    classes, order = classes.sort(dim=1, stable=True)
    return padded.gather(1, order[..., None].expand_as(padded)), classes


def _with_velocity(sample: int, boxes_labels: tuple[Tensor, Tensor]) -> Tensor:
    boxes, labels = boxes_labels
    if boxes.ndim != 2 or boxes.shape[1] not in (7, 9):
        raise DataError(
            f"boxes of sample {sample} of the batch have the shape {list(boxes.shape)}, expected "
            "[M, 7] or, with velocity, [M, 9]; give x, y, z, length, width, height, yaw (, vx, vy)"
        )
    if labels.shape != boxes.shape[:1]:
        raise DataError(
            f"sample {sample} of the batch has {len(boxes)} boxes and labels of the shape "
            f"{list(labels.shape)}; give each box one label"
        )
    return functional.pad(boxes.float(), (0, 9 - boxes.shape[1]), value=float("nan"))


def _in_cells(
    metres: Tensor,  # [B, M]
    grid: BEVGrid,
    axis: int,
) -> Tensor:
    """A coordinate counted in cells from the grid's edge, ``[B, M]``."""
    return (metres - grid.lower[axis]) / grid.cell[axis]


def _slots(
    edges: Tensor,  # [T + 1, B]
    num_objects: int,
) -> Tensor:
    """The slot of each sorted object within its task, ``[B, M]``."""
    position = torch.arange(num_objects, device=edges.device)
    begins = edges[:-1, :, None]
    return position - (begins * (begins <= position)).amax(0)


def _radius(
    objects: Tensor,  # [B, M, 9]
    grid: BEVGrid,
    min_overlap: float,
) -> Tensor:
    """How far, in cells, a box may move and keep ``min_overlap`` with itself, ``[B, M]``.

    CornerNet's three cases (one corner moves, both inwards, both outwards), with the larger root
    of each quadratic equation as in the public code, in its order of rounding.
    """
    length, width = (objects[..., 3 + axis] / grid.cell[axis] for axis in (0, 1))
    total, area = width + length, width * length
    cases = (
        (1, total, area * (1 - min_overlap) / (1 + min_overlap)),
        (4, 2 * total, (1 - min_overlap) * length * width),
        (4 * min_overlap, -2 * min_overlap * total, (min_overlap - 1) * length * width),
    )
    roots = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(roots).amin(0)


def _box_numbers(
    objects: Tensor,  # [B, M, 9]
    offsets: Tensor,  # [B, M, 2], of the centre within its cell
    log_size: bool,
) -> Tensor:
    """What the box branches learn, ``[B, M, 10]``."""
    _, height, size, yaw, velocity = objects.split([2, 1, 3, 1, 2], dim=-1)
    size = size.log() if log_size else size
    return torch.cat([offsets, height, size, yaw.sin(), yaw.cos(), velocity], dim=-1)


def _in_slots(
    edges: Tensor,  # [T + 1, B]
    drawn: Tensor,  # [B, M], bool
    numbers: Tensor,  # [B, M, 10]
    index: Tensor,  # [B, M]
    max_objects: int,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Boxes, cells and masks of each task; all 0 where a slot is empty."""
    batch, num_objects = drawn.shape
    slots = torch.arange(max_objects, device=drawn.device)
    position = edges[:-1, :, None] + slots  # [T, B, S], among the sorted objects of a sample
    sample = torch.arange(batch, device=drawn.device)[:, None] * num_objects
    source = position.clamp(max=num_objects - 1) + sample
    filled = drawn.flatten()[source] & (position < edges[1:, :, None])
    boxes = numbers.flatten(0, 1)[source].masked_fill(~filled[..., None], 0)
    cells = index.flatten()[source].masked_fill(~filled, 0)
    return list(boxes), list(cells), list(filled.to(torch.uint8))


def _heatmaps(
    cells: Tensor,  # [B, M, 2], x and y
    radius: Tensor,  # [B, M], cells
    drawn: Tensor,  # [B, M], bool
    classes: Tensor,  # [B, M]
    num_classes: int,
    grid: BEVGrid,
) -> Tensor:
    """The largest Gaussian of each class at each cell, ``[B, K, Y, X]``.

    The radius and half a cell are three standard deviations; beyond the radius there is nothing.
    Exponents are made and compared in float64, and one exponential of the largest makes the maps:
    mmdet3d takes them from numpy, so that in float32 the maps would differ by rounding. Objects
    are taken in steps of bounded memory, the number of which follows from the shapes.
    """
    batch = len(classes)
    size_y, size_x = grid.bev_size
    # Squared distances in cells, [B, M, X] and [B, M, Y]; infinite where the object is not drawn.
    along_x = _squared_distance(cells[..., 0], radius.where(drawn, -1.0), size_x)
    along_y = _squared_distance(cells[..., 1], radius, size_y)
    sigma = (2 * radius.where(drawn, 0.0).double() + 1) / 6  # the radius may be NaN elsewhere
    twice_variance = (2 * sigma * sigma).flatten()  # [B * M]
    sample = torch.arange(batch, device=classes.device)[:, None]
    target = (sample * num_classes + classes.clamp(max=num_classes - 1)).flatten()  # [B * M]
    exponents = twice_variance.new_full((batch * num_classes, size_y * size_x), -torch.inf)
    step = max(1, _MOST_VALUES // (size_y * size_x))
    for rows, x, y, scale in zip(
        target.split(step),
        along_x.flatten(0, 1).split(step),
        along_y.flatten(0, 1).split(step),
        twice_variance.split(step),
        strict=True,
    ):
        drawings = (y[:, :, None] + x[:, None, :]).flatten(1).div_(-scale[:, None])  # [step, Y * X]
        exponents.scatter_reduce_(0, rows[:, None].expand_as(drawings), drawings, "amax")
    return exponents.exp_().float().view(batch, num_classes, size_y, size_x)


def _squared_distance(
    cells: Tensor,  # [B, M]
    radius: Tensor,  # [B, M]
    size: int,
) -> Tensor:
    """From each cell along one axis, float64 ``[B, M, size]``, infinite beyond the radius."""
    distance = torch.arange(size, device=cells.device) - cells[..., None]
    near = distance.abs() <= radius[..., None]
    return distance.double().square().where(near, torch.inf)
