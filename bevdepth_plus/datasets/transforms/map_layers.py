"""The road from above as ground truth: map masks, cut to the BEV grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from os import path as osp

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.datasets.map_layers import RESOLUTION
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.rigid import transform_points

UNKNOWN = 255
_KINDS = ("area", "line")


@TRANSFORMS.register_module()
class LoadMapLayers(BaseTransform):
    """Cuts map masks to the (augmented) BEV grid: ``map_layers``, uint8 ``[L, Y, X]``.

    1 where a layer is, 0 where it is not, 255 where the mask does not reach. Must follow
    ``BEVAugmentation``.

    Args:
        grid: The :class:`BEVGrid`'s x, y, z, each ``(lower, upper, cell)``, metres.
        layers: Layer -> ``"area"``: a cell counts if at least half of it is covered, or
            ``"line"``: if any of it is, for things thinner than a cell.
        samples: Points tried along each side of a cell.
    """

    def __init__(self, grid: Mapping, layers: Mapping[str, str], samples: int = 5) -> None:
        for name, kind in layers.items():
            if kind not in _KINDS:
                raise ValueError(f"layer {name} must be one of {_KINDS}, got {kind!r}")
        self.grid = BEVGrid(**grid)
        self.layers = dict(layers)
        self.samples = samples

    def transform(self, results: dict) -> dict:
        pixels = self._pixels(results)  # [Y, X, samples^2, 2]
        layers = [self._layer(name, kind, pixels, results) for name, kind in self.layers.items()]
        return {**results, "map_layers": np.stack(layers)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(layers={self.layers}, samples={self.samples})"

    def _pixels(self, results: dict) -> Tensor:
        """Mask pixels, from the lower left, of points spread over each cell, ``[Y, X, P, 2]``."""
        offsets = (torch.arange(self.samples, dtype=torch.float64) + 0.5) / self.samples
        across, along = torch.meshgrid(offsets, offsets, indexing="xy")
        in_cell = torch.stack([across, along], dim=-1).flatten(0, 1)  # [s * s, 2], share of a cell
        points = self.grid.lower_corners()[:, :, None] + in_cell * torch.tensor(self.grid.cell[:2])
        points = torch.cat([points, torch.zeros_like(points[..., :1])], dim=-1)  # on the road
        ego_T_bev = torch.linalg.inv(torch.from_numpy(results["bev_aug"]).double())
        global_T_bev = torch.from_numpy(results["ego2global"]).double() @ ego_T_bev
        return (
            transform_points(global_T_bev, points.flatten(0, 2))[:, :2].reshape(
                *points.shape[:3], 2
            )
            / RESOLUTION
        )

    def _layer(self, name: str, kind: str, pixels: Tensor, results: dict) -> np.ndarray:
        where = f"sample {results['token']}"
        path = results.get("map_layer_paths", {}).get(name)
        if path is None:
            raise DataError(
                f"{where} has no map layer {name!r}; make the info files anew with "
                "tools/create_data.py, or take the layer out of LoadMapLayers and the head"
            )
        mask = _read_mask(path)
        height, width = mask.shape
        column, row = pixels.floor().long().numpy().reshape(-1, 2).T
        row = height - 1 - row  # the first row of the picture is the largest y
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        covered = np.zeros(len(column), dtype=bool)
        covered[inside] = mask[row[inside], column[inside]] > 0
        share = covered.reshape(*pixels.shape[:3]).mean(axis=-1)
        known = inside.reshape(*pixels.shape[:3]).all(axis=-1)
        found = share >= 0.5 if kind == "area" else share > 0
        return np.where(known, found, UNKNOWN).astype(np.uint8)


@lru_cache(maxsize=8)
def _read_mask(path: str) -> np.ndarray:
    if not osp.isfile(path):
        raise DataError(f"map mask {path} does not exist; fetch the maps of the data set")
    mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DataError(f"map mask {path} is not a picture or is truncated; fetch it again")
    return mask
