"""Loading the cameras' images."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.datasets.image_files import read_image
from bevdepth_plus.errors import DataError


@TRANSFORMS.register_module()
class LoadMultiViewImages(BaseTransform):
    """Loads all images of all frames: ``img_path`` -> ``img``, a list of S * N BGR arrays.

    Cameras may differ in size; ``raw_shape`` keeps each image's height and width. A camera that is
    out (``img_path`` None) has a black image of another frame's or another camera's size.
    """

    def transform(self, results: dict) -> dict:
        images = [path and read_image(path) for path in results["img_path"]]
        num_cameras = len(results["cam_names"])
        for index, image in enumerate(images):
            if image is None:
                images[index] = np.zeros_like(self._like(images, index, num_cameras, results))
        return {**results, "img": images, "raw_shape": [image.shape[:2] for image in images]}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @staticmethod
    def _like(images: list, index: int, num_cameras: int, results: dict) -> np.ndarray:
        candidates = [*images[index % num_cameras :: num_cameras], *images]
        for image in candidates:
            if image is not None:
                return image
        raise DataError(f"sample {results['token']} has no camera at all; remove it from the file")
