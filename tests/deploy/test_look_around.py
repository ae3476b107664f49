"""Priors that look at other images, on kept features, where a camera gave no image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bevdepth_plus.deploy.backends.look_around import KeptImage, look_around
from bevdepth_plus.deploy.features import ImageFeatures, PerceivedCamera
from bevdepth_plus.deploy.parts import ImagePart, normalised
from bevdepth_plus.deploy.samples import Sample, random_samples
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.depth.prior import DepthPrior
from bevdepth_plus.triangulation.prior import TriangulationPrior

CPU = torch.device("cpu")


class BrighterIsNearer(DepthPrior):
    """Of images themselves: a camera that sees more light than at the moment before."""

    single_image = False

    def forward(self, view):
        if not view.past:
            return None
        past = view.past[0]
        brighter = (view.images - past.images).mean((2, 3, 4))
        return torch.where(view.cameras.mask & past.cameras.mask, brighter, 0.0)  # [B, N]

    def log_bins(self, prediction, bins, cells):
        if prediction is None:
            return None
        nearer = -bins.centres(prediction.device)[:, None, None].expand(-1, *cells)
        return prediction[..., None, None, None] * nearer


@pytest.fixture(scope="module", params=["features", "images"])
def detector(request, load_tiny):
    detector = load_tiny("synthetic_small_2key")
    torch.manual_seed(0)
    prior = BrighterIsNearer()
    if request.param == "features":
        prior = TriangulationPrior(detector.image_encoder.out_channels, 16, channels=4, samples=8)
    detector.depth.priors["other"] = prior.eval().requires_grad_(False)
    return detector


def kept_moments(detector, sample: Sample) -> list:
    """What a stream keeps of each working camera at each moment."""
    part = ImagePart(detector, keep=True)
    moments = []
    for moment, mask in enumerate(sample.mask):
        matrices = [sample.intrinsics, sample.ego_T_cam[:1], sample.image_aug]
        K, pose, aug = (m[min(moment, len(m) - 1)] for m in matrices)  # the rig's own poses
        parts = part(*map(torch.from_numpy, (K, pose, aug, sample.images[moment])))
        moments.append([])
        for n in np.flatnonzero(mask):
            depth, context, depth_map, image, features = (each[n : n + 1] for each in parts)
            kept = ImageFeatures(depth, context, depth_map[0].numpy(), KeptImage(image, features))
            camera = PerceivedCamera(f"camera {n}", kept, K[n], aug[n], pose[n])
            moments[-1].append((camera, sample.ego_T_cam[moment, n]))
    return moments


@pytest.mark.parametrize("lost", [(), ((1, 2),), ((0, 0), (1, 3))], ids=["none", "past", "both"])
def test_a_lost_camera_is_one_that_the_batch_masks(detector, lost):
    (sample,) = random_samples(detector, [4])
    for where in lost:
        sample.mask[where] = False
    rig = CameraRig.from_metainfo([sample.meta])
    images = normalised(torch.from_numpy(sample.images), detector.data_preprocessor)
    expected = detector.depth_over_time(images[None], rig)
    moments = kept_moments(detector, sample)
    with torch.no_grad():
        found = look_around(detector, moments, CPU)
    for before, moment, batch, mask in zip(moments, found, expected, sample.mask, strict=True):
        depth = torch.cat([camera.features.depth for camera, _ in moment])
        torch.testing.assert_close(depth, batch.lifted[0, mask], atol=1e-6, rtol=1e-5)
        maps = torch.from_numpy(np.stack([camera.features.depth_map for camera, _ in moment]))
        torch.testing.assert_close(maps, detector.depth.bins.expectation(depth[None])[0])
        assert [camera.name for camera, _ in moment] == [camera.name for camera, _ in before]
    # It says something, in the key frame at least: these cameras hardly overlap.
    changed = [
        (camera.features.depth - kept.features.depth).abs().max()
        for (camera, _), (kept, _) in zip(found[0], moments[0], strict=True)
    ]
    assert max(changed) > 1e-3
