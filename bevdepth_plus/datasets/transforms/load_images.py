"""Loading the cameras' images."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.images import DECODING, decode


@TRANSFORMS.register_module()
class LoadMultiViewImages(BaseTransform):
    """Loads all images of all frames: ``img_path`` -> ``img``, a list of S * N BGR arrays.

    Cameras may differ in size; ``raw_shape`` keeps each image's height and width. A camera that is
    out (``img_path`` None) has a black image of another frame's or another camera's size.

    Args:
        decoding: ``exact``, or ``fast``: JPEGs are decoded at 1/2, 1/4 or 1/8 where that still
            covers the network's input. ``ImageAugmentation`` knows such images by ``raw_shape``.
        final_dim: height and width of the network's input, pixels; the fast way needs them.
    """

    def __init__(self, decoding: str = "exact", final_dim: tuple[int, int] | None = None) -> None:
        if decoding not in DECODING:
            raise ValueError(f"decoding must be one of {', '.join(DECODING)}, got {decoding!r}")
        if decoding == "fast" and final_dim is None:
            raise ValueError("decoding='fast' needs final_dim, ImageAugmentation's")
        self.decoding = decoding
        self.cover = (final_dim[1], final_dim[0]) if final_dim and decoding == "fast" else None

    def transform(self, results: dict) -> dict:
        names = results["cam_names"]
        num_cameras = len(names)
        images: list = []
        shapes: list = []
        for index, path in enumerate(results["img_path"]):
            image, shape = None, None
            if path:
                image, size = decode(path, names[index % num_cameras], self.cover, rgb=False)
                shape = size[::-1]
            images.append(image)
            shapes.append(shape)
        present = list(images)
        for index, image in enumerate(present):
            if image is None:
                like = self._like(present, index, num_cameras, results)
                images[index], shapes[index] = np.zeros_like(present[like]), shapes[like]
        return {**results, "img": images, "raw_shape": shapes}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(decoding={self.decoding!r})"

    @staticmethod
    def _like(images: list, index: int, num_cameras: int, results: dict) -> int:
        """The index of an image whose size a camera that is out takes."""
        own = range(index % num_cameras, len(images), num_cameras)
        for candidate in (*own, *range(len(images))):
            if images[candidate] is not None:
                return candidate
        raise DataError(f"sample {results['token']} has no camera at all; remove it from the file")
