"""mmdet3d's box objects <-> tensors of numbers. Everything else here works on the numbers.

mmdet3d keeps the *bottom* centre in its tensors; this project's numbers hold the centre of
*gravity*: x, y, z, length, width, height, yaw[, vx, vy].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # importing it takes seconds, which tools that only draw need not wait for
    from mmdet3d.structures import LiDARInstance3DBoxes


def to_mmdet3d(
    numbers: Tensor,  # [M, 7 or 9], gravity centre
) -> LiDARInstance3DBoxes:
    """Boxes as mmdet3d's heads, transforms and metrics hand them about."""
    from mmdet3d.structures import LiDARInstance3DBoxes

    return LiDARInstance3DBoxes(numbers, box_dim=numbers.shape[1], origin=(0.5, 0.5, 0.5))


def from_mmdet3d(boxes: LiDARInstance3DBoxes) -> Tensor:
    """The numbers of mmdet3d's boxes, gravity centre, ``[M, 7 or 9]``."""
    return torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], dim=1)
