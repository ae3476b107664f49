"""Wrong arguments raise in Python, before any compiled code, and say what was expected and came.

A C++ exception may not survive where the op was built by another compiler than PyTorch; a user's
mistake must not depend on that.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import torch

from bevdepth_plus_ops import BEVPoolPlan, bev_pool, bev_pool_reference, frustum_cells
from bevdepth_plus_ops.testing import random_case

NAN = float("nan")


def assert_raises_in_python(call, error_type: type, message: str) -> None:
    try:
        call()
    except error_type as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename).name
        assert raised_in == "checks.py", f"{error!r} comes from {raised_in}"
        assert message in str(error), f"{error!r} does not say {message!r}"
    else:
        raise AssertionError(f"did not raise {error_type.__name__}")


POOL = {  # changed arguments, error, what the message says
    "depth axes": (dict(depth=lambda c: c.depth[0]), ValueError, "depth must be [B, N, D, H, W]"),
    "depth no tensor": (dict(depth=lambda c: c.depth.tolist()), TypeError, "got list"),
    "depth sparse": (dict(depth=lambda c: c.depth.to_sparse()), TypeError, "sparse_coo"),
    "integer depth": (dict(depth=lambda c: c.depth.int()), TypeError, "got torch.int32"),
    "complex depth": (dict(depth=lambda c: c.depth.cfloat()), TypeError, "got torch.complex64"),
    "depth on meta": (dict(depth=lambda c: c.depth.to("meta")), ValueError, "device meta, got"),
    "context axes": (dict(context=lambda c: c.context[0]), ValueError, "context must be [B, N, C"),
    "context width": (dict(context=lambda c: c.context[..., :-1]), ValueError, "got (2, 3, 20, 4"),
    "context cameras": (dict(context=lambda c: c.context[:, :2]), ValueError, "got (2, 2, 20, 4"),
    "context no tensor": (dict(context=lambda c: None), TypeError, "got NoneType"),
    "two dtypes": (dict(context=lambda c: c.context.double()), TypeError, "got torch.float64"),
    "context on meta": (dict(context=lambda c: c.context.to("meta")), ValueError, "got meta"),
    "cells shape": (dict(cells=lambda c: c.cells[:, :, :-1]), ValueError, "got (2, 3, 6, 4, 5)"),
    "cells dtype": (dict(cells=lambda c: c.cells.long()), TypeError, "int32, got torch.int64"),
    "cells on meta": (dict(cells=lambda c: c.cells.to("meta")), ValueError, "got meta"),
    "cells no tensor": (dict(cells=lambda c: c.cells.tolist()), TypeError, "got list"),
    "empty grid": (dict(bev_size=lambda c: (0, 4)), ValueError, "at least 1, got (0, 4)"),
    "three sizes": (dict(bev_size=lambda c: (1, 2, 4)), ValueError, "got (1, 2, 4)"),
    "one size": (dict(bev_size=lambda c: 128), ValueError, "got 128"),
    "size not whole": (dict(bev_size=lambda c: (6.0, 9.0)), TypeError, "got (6.0, 9.0)"),
    "large grid": (dict(bev_size=lambda c: (2**16, 2**15)), ValueError, "at most 2147483647"),
}


@pytest.mark.parametrize("wrong", POOL)
@pytest.mark.parametrize("pool", [bev_pool, bev_pool_reference])
def test_pooling_refuses(wrong, pool, device):
    case = random_case(device=device)
    changes, error, message = POOL[wrong]
    arguments = dict(
        depth=case.depth, context=case.context, cells=case.cells, bev_size=case.bev_size
    )
    arguments.update({name: change(case) for name, change in changes.items()})
    assert_raises_in_python(lambda: pool(**arguments), error, message)


def test_more_bins_or_rows_than_a_run_can_count_are_refused(device):
    case = random_case(batch=1, cameras=1, channels=1, bins=2**15, height=1, width=1, device=device)
    assert_raises_in_python(lambda: bev_pool(*case.arguments), ValueError, "at most 32767 bins")


def test_autocast_does_not_hide_a_wrong_dtype(device):
    case = random_case(device=device)
    for wrong in (case.context.int(), case.context.double()):
        with torch.autocast(device, torch.bfloat16):
            assert_raises_in_python(
                lambda context=wrong: bev_pool(case.depth, context, case.cells, case.bev_size),
                TypeError,
                "depth's dtype torch.bfloat16",
            )


PLAN = {
    "another batch": (lambda c: (c.depth[:1], c.context[:1]), ValueError, "made for the shape"),
    "another width": (lambda c: (c.depth[..., 1:], c.context[..., 1:]), ValueError, "got depth (2"),
    "another device": (
        lambda c: (c.depth.to("meta"), c.context.to("meta")), ValueError, "plan.to('meta')",
    ),
    "context elsewhere": (lambda c: (c.depth, c.context.to("meta")), ValueError, "got meta"),
    "two dtypes": (lambda c: (c.depth, c.context.half()), TypeError, "got torch.float16"),
    "no tensor": (lambda c: (None, c.context), TypeError, "got NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", PLAN)
def test_a_plan_refuses(wrong, device):
    case = random_case(device=device)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    change, error, message = PLAN[wrong]
    assert_raises_in_python(lambda: plan(*change(case)), error, message)


def test_a_plan_left_on_another_device_is_refused(device):
    case = random_case(device=device)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size).to("meta")
    assert_raises_in_python(
        lambda: plan(case.depth, case.context), ValueError, "the plan is on device meta"
    )


@pytest.mark.parametrize("wrong", [name for name in POOL if set(POOL[name][0]) == {"bev_size"}])
def test_no_plan_is_made_for(wrong, device):
    changes, error, message = POOL[wrong]
    case = random_case(device=device)
    bev_size = changes["bev_size"](case)
    assert_raises_in_python(lambda: BEVPoolPlan.from_cells(case.cells, bev_size), error, message)


def test_no_plan_is_made_from_wrong_cells(device):
    cells = random_case(device=device).cells
    for wrong, error, message in (
        (cells[0], ValueError, "[B, N, D, H, W]"),
        (cells.float(), TypeError, "got torch.float32"),
        (cells.tolist(), TypeError, "got list"),
        (cells.to_sparse(), TypeError, "sparse_coo"),
    ):
        assert_raises_in_python(
            lambda c=wrong: BEVPoolPlan.from_cells(c, (6, 9)), error, message
        )  # fmt: skip


def frustum_arguments(device: str) -> dict:
    eye3, eye4 = torch.eye(3, device=device), torch.eye(4, device=device)
    return dict(
        ego_T_cam=eye4.repeat(2, 3, 1, 1), intrinsics=eye3.repeat(2, 3, 1, 1),
        image_aug=eye3.repeat(2, 3, 1, 1), bev_aug=eye4.repeat(2, 1, 1),
        u=torch.arange(5.0, device=device), v=torch.arange(4.0, device=device),
        depths=torch.arange(1.0, 8.0, device=device),
        lower=(-8.0, -8.0, -5.0), cell_size=(0.8, 0.8, 8.0), grid_size=(20, 20, 1),
    )  # fmt: skip


FRUSTUM = {
    "rounding": (dict(rounding=lambda a: "round"), ValueError, "got 'round'"),
    "two lengths": (dict(lower=lambda a: (0.0, 0.0)), ValueError, "lower must hold (x, y, z)"),
    "no lengths": (dict(cell_size=lambda a: 0.8), ValueError, "got 0.8"),
    "size zero": (dict(cell_size=lambda a: (0.8, 0.0, 8.0)), ValueError, "must be positive"),
    "size unknown": (dict(cell_size=lambda a: (NAN, 0.8, 8.0)), ValueError, "must be finite"),
    "corner unknown": (dict(lower=lambda a: (NAN, 0.0, 0.0)), ValueError, "must be finite"),
    "corner no number": (dict(lower=lambda a: ("0", "0", "0")), TypeError, "a number for each"),
    "empty grid": (dict(grid_size=lambda a: (20, 0, 1)), ValueError, "must be positive"),
    "grid not whole": (dict(grid_size=lambda a: (20.0, 20, 1)), TypeError, "an integer for each"),
    "large grid": (dict(grid_size=lambda a: (2**16, 2**15, 1)), ValueError, "at most 2147483647"),
    "many layers": (dict(grid_size=lambda a: (1, 1, 2**31)), ValueError, "at most 2147483647"),
    "axes of u": (dict(u=lambda a: torch.zeros(2, 2)), ValueError, "u must have one axis"),
    "u no tensor": (dict(u=lambda a: [1.0, 2.0]), TypeError, "u must be a torch.Tensor, got list"),
    "u complex": (dict(u=lambda a: a["u"].cfloat()), TypeError, "got torch.complex64"),
    "v on meta": (dict(v=lambda a: a["v"].to("meta")), ValueError, "v must be on ego_T_cam's"),
    "one pose": (dict(ego_T_cam=lambda a: torch.eye(4)), ValueError, "must be [B, N, 4, 4], got"),
    "3x4 poses": (dict(ego_T_cam=lambda a: a["ego_T_cam"][..., :3, :]), ValueError, "(2, 3, 3, 4)"),
    "4x4 intrinsics": (dict(intrinsics=lambda a: a["ego_T_cam"]), ValueError, "(2, 3, 3, 3), got"),
    "4x4 image_aug": (dict(image_aug=lambda a: a["ego_T_cam"]), ValueError, "(2, 3, 3, 3), got"),
    "one bev_aug": (dict(bev_aug=lambda a: a["bev_aug"][0]), ValueError, "(2, 4, 4), got (4, 4)"),
    "poses on meta": (dict(ego_T_cam=lambda a: a["ego_T_cam"].to("meta")), ValueError, "meta, got"),
    "poses true": (dict(ego_T_cam=lambda a: a["ego_T_cam"] > 0), TypeError, "got torch.bool"),
}


@pytest.mark.parametrize("wrong", FRUSTUM)
def test_frustum_cells_refuses(wrong, device):
    arguments = frustum_arguments(device)
    changes, error, message = FRUSTUM[wrong]
    arguments.update({name: change(arguments) for name, change in changes.items()})
    assert_raises_in_python(lambda: frustum_cells(**arguments), error, message)


def test_numpy_numbers_are_numbers(device):
    numpy = pytest.importorskip("numpy")
    arguments = frustum_arguments(device)
    expected = frustum_cells(**arguments)
    for name in ("lower", "cell_size"):
        arguments[name] = numpy.array(arguments[name], dtype=numpy.float64)
    arguments["grid_size"] = numpy.array(arguments["grid_size"])
    assert torch.equal(frustum_cells(**arguments), expected)
    case = random_case(device=device)
    size = tuple(numpy.array(case.bev_size))
    assert torch.equal(
        bev_pool(case.depth, case.context, case.cells, size), bev_pool(*case.arguments)
    )
