"""The functions that are traced compute what the detector computes, for every recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import deform_conv2d
from mmengine.config import Config

pytest.importorskip("onnx", reason="the exporter needs onnx: pip install -e '.[export]'")

from bevdepth_plus.deploy.describe import describe, output_names
from bevdepth_plus.deploy.gather_index import gather_index
from bevdepth_plus.deploy.geometry import frustum_cells, pixel_to_grid
from bevdepth_plus.deploy.parts import (
    GatherPool,
    OneGraph,
    ScatterPool,
    check_deployable,
    check_exportable,
)
from bevdepth_plus.deploy.samples import random_samples
from bevdepth_plus.deploy.translations import deform_conv2d_by_grid_sample
from bevdepth_plus.deploy.verify import detector_maps
from bevdepth_plus.errors import DataError
from bevdepth_plus.triangulation.prior import TriangulationPrior
from bevdepth_plus_ops import bev_pool

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WINGS = ("deltas_", "pointmap_")  # networks that are no detectors
DETECTORS = sorted(p.stem for p in CONFIGS.glob("*.py") if not p.stem.startswith(WINGS))


def inputs_of(sample, model) -> dict[str, torch.Tensor]:
    matrices = dict(
        intrinsics=sample.intrinsics, ego_T_cam=sample.ego_T_cam, image_aug=sample.image_aug
    )
    to_grid = pixel_to_grid(*matrices.values(), model.grid)
    arrays = dict(matrices, pixel_to_grid=to_grid, images=sample.images)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("name", DETECTORS)
def test_the_traced_functions_are_the_detector(name, load_tiny):
    detector = load_tiny(name)
    check_deployable(detector)
    model = describe(detector, Config.fromfile(CONFIGS / f"{name}.py"), name)
    (sample,) = random_samples(detector, [4])
    expected, depth_map = detector_maps(detector, sample)
    *maps, found_depth = OneGraph(detector)(**inputs_of(sample, model))
    assert output_names(detector) == list(expected) == list(model.outputs)
    for (output, values), found in zip(expected.items(), maps, strict=True):
        torch.testing.assert_close(found, values, atol=2e-5, rtol=1e-4, msg=output)
    np.testing.assert_allclose(found_depth.numpy(), depth_map, rtol=1e-5)


def test_the_past_lies_as_far_back_as_in_the_training_data(load_tiny):
    name = "synthetic_small_2key"
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    detector = load_tiny(name)
    assert describe(detector, cfg, name).frame_interval == 0.5  # nuScenes' key frames
    cfg.test_dataloader.dataset.frame_interval = 0.2
    assert describe(detector, cfg, name).frame_interval == 0.2


def test_both_poolings_sum_what_the_native_op_sums(load_tiny):
    name = "bevdepth_r50_256x704_24e"
    detector = load_tiny(name)
    model = describe(detector, Config.fromfile(CONFIGS / f"{name}.py"), name)
    (sample,) = random_samples(detector, [5])
    matrix = pixel_to_grid(sample.intrinsics, sample.ego_T_cam, sample.image_aug, model.grid)[0]
    frustum = detector.view_transform.frustum
    cells = frustum_cells(matrix, model.frustum, model.grid)
    depth = torch.rand(5, len(frustum.depths), len(frustum.v), len(frustum.u)).softmax(1)
    context = torch.randn(5, 4, len(frustum.v), len(frustum.u))
    expected = bev_pool(
        depth[None], context[None], torch.from_numpy(cells)[None], model.grid.bev_size
    )
    assert (expected != 0).any()
    scattered = ScatterPool(detector.view_transform)(depth, context, torch.from_numpy(matrix))
    torch.testing.assert_close(scattered, expected, atol=1e-6, rtol=1e-5)
    rows, columns = model.grid.bev_size
    index = {n: torch.from_numpy(a) for n, a in gather_index(cells, rows * columns).items()}
    gathered = GatherPool(detector.view_transform)(depth, context, **index)
    torch.testing.assert_close(gathered, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 1, 1, 4), (2, 2, 2, 1)])
def test_deformable_convolution_by_grid_sample_is_mmcvs(stride, padding, dilation, groups):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 9, 12), torch.randn(12, 8 // groups, 3, 3)
    size = [(side + 2 * padding - 2 * dilation - 1) // stride + 1 for side in (9, 12)]
    offset = 2 * torch.randn(2, 2 * 18, *size)  # beyond the border, too
    options = (stride, padding, dilation, groups, 2)
    expected = deform_conv2d(x, offset, weight, *options, False, 2)
    found = deform_conv2d_by_grid_sample(x, offset, weight, *options)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_options_that_a_graph_cannot_express_are_refused_by_name(load_tiny):
    detector = load_tiny("synthetic_small", test_time_flips=dict(image=True))
    with pytest.raises(DataError, match="set model.test_time_flips=None"):
        check_deployable(detector)
    detector = load_tiny("synthetic_small")
    detector.depth.estimate_focal = True
    with pytest.raises(DataError, match="model.depth.estimate_focal=True makes the calibration"):
        check_deployable(detector)


def test_a_prior_that_looks_at_other_images_is_not_exported(load_tiny):
    detector = load_tiny("synthetic_small")
    detector.depth.priors["motion"] = TriangulationPrior(in_channels=32, stride=8)
    check_deployable(detector)  # by the detector itself, in a stream
    with pytest.raises(DataError, match=r"priors.motion \(TriangulationPrior\) looks at other"):
        check_exportable(detector)


def test_the_gather_form_refuses_depth_refinement(load_tiny):
    detector = load_tiny("bevdepth_r50_256x704_20e_cbgs_2key_da_ema")
    with pytest.raises(DataError, match="use --form parts"):
        GatherPool(detector.view_transform)
