"""Cameras and depth of many images from their matches: first in 3D, then in pixels.

Source: MASt3R-SfM (3DV 2025), Sec. 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bevdepth_plus.geometry.pinhole import project, unproject
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.pointmaps.alignment_problem import AlignmentProblem, Side
from bevdepth_plus.pointmaps.pair_graphs import check_connected, spanning_tree
from bevdepth_plus.pointmaps.scene_parameters import Known, Scene, SceneParameters

# Pixels outside are as bad as on this border, depth below is as bad as this one.
_PIXEL_RANGE = (-1000.0, 2000.0)
_MIN_DEPTH = 1e-3


@dataclass(frozen=True)
class Stage:
    """One round of optimisation.

    Attributes:
        iterations: steps of Adam, its rate falling to 0 as half a cosine.
        rate: learning rate of the first step.
        gamma: exponent of the robust loss; small values forgive large errors.
    """

    iterations: int
    rate: float
    gamma: float


@dataclass(frozen=True)
class Settings:
    """How an alignment runs.

    Attributes:
        coarse: on distances between matched points; moves poses and scales.
        fine: on reprojection in pixels; moves everything.
        refine_depth, refine_principal_point: whether the fine stage moves them.
        shared_intrinsics: one camera took all images.
        tree: see :func:`pair_graphs.spanning_tree`.
        return_state_before_last_step: as the public code does, to reproduce its numbers.
    """

    coarse: Stage = field(default_factory=lambda: Stage(300, 0.07, 1.5))
    fine: Stage = field(default_factory=lambda: Stage(300, 0.01, 0.5))
    refine_depth: bool = True
    refine_principal_point: bool = True
    shared_intrinsics: bool = False
    tree: str = "ward"
    return_state_before_last_step: bool = False


@dataclass(frozen=True)
class Alignment:
    """The result.

    Attributes:
        scene: cameras and anchor depths after the fine stage.
        coarse: the same after the coarse stage.
        losses: of every step of both stages.
        root: the image that the tree of poses starts from.
        base_focals: focal lengths that depths within a block are relative to, ``[V]``.
    """

    scene: Scene
    coarse: Scene
    losses: Tensor
    root: int
    base_focals: Tensor


def align(
    problem: AlignmentProblem,
    known: Known | None = None,
    settings: Settings | None = None,
    tree: tuple[int, Sequence[tuple[int, int]]] | None = None,
    on_step: Callable[[str, int], None] | None = None,
) -> Alignment:
    """Find the cameras and depths under which matches meet.

    Args:
        known: poses and intrinsics known beforehand, exactly or with a sigma.
        tree: root and (parent, child) edges; default: from the number of matches.
        on_step: called with the stage's name and the step, for a progress bar.

    Raises:
        ValueError: what is known is malformed, the images are not linked by matches, or the loss
            is not finite.
    """
    settings = Settings() if settings is None else settings
    known = (Known() if known is None else known).checked(problem.num_images)
    if tree is None:
        tree = spanning_tree(problem.scores, problem.num_anchors, settings.tree)
    else:
        check_connected(problem.scores.cpu().numpy())
    parameters = SceneParameters(problem, tree, known, settings.shared_intrinsics)
    poses = ["quaternion", "pivot", "log_size"]
    all_names = [*poses, "log_focal"]
    all_names += ["principal_point"] if settings.refine_principal_point else []
    all_names += ["depth"] if settings.refine_depth else []
    losses: list[Tensor] = []
    scenes = []
    for name, stage, names, loss in (
        ("coarse", settings.coarse, poses, point_loss),
        ("fine", settings.fine, all_names, pixel_loss),
    ):
        before = _optimise(parameters, names, stage, loss, losses, name, on_step)
        lags = settings.return_state_before_last_step and stage.iterations
        scenes.append(before if lags else parameters.scene().detached())
    return Alignment(
        scene=scenes[1],
        coarse=scenes[0],
        losses=torch.stack(losses) if losses else problem.weight.new_zeros(0),
        root=tree[0],
        base_focals=parameters.problem.focals,
    )


def point_loss(problem: AlignmentProblem, scene: Scene, gamma: float) -> Tensor:
    """Weighted mean of the robust distance between both points of each match."""
    first, second = (match_points(scene, problem, s) for s in (problem.first, problem.second))
    distance = (first - second).norm(dim=-1)
    return (problem.weight * robust(distance, gamma)).sum() / problem.weight.sum()


def pixel_loss(problem: AlignmentProblem, scene: Scene, gamma: float) -> Tensor:
    """Weighted mean of the robust distance, in pixels, of each match seen from the other side."""
    total = 0
    for here, there in ((problem.first, problem.second), (problem.second, problem.first)):
        pixels = project_into(scene, match_points(scene, problem, there), here.image)
        distance = (pixels - here.pixels).norm(dim=-1)
        total = total + (problem.weight * robust(distance, gamma)).sum()
    return total / (2 * problem.weight.sum())


def match_points(scene: Scene, problem: AlignmentProblem, side: Side) -> Tensor:
    """World points of one side of the matches, ``[P, 3]``."""
    # A longer focal length moves the camera back, which leaves differences of depth as they are.
    stretch = problem.focals / scene.intrinsics[:, 0, 0]
    depth = scene.anchor_depth[side.anchor] * (1 + (side.ratio - 1) * stretch[side.image])
    points = unproject(side.pixels[:, None], depth[:, None], scene.intrinsics[side.image])
    return transform_points(scene.world_T_cam[side.image], points)[:, 0]


def project_into(
    scene: Scene,
    points: Tensor,  # [P, 3], world
    image: Tensor,  # [P]
) -> Tensor:
    """Pixels of world points, each in its own image, ``[P, 2]``, kept in a finite range."""
    cam_T_world = invert_rigid(scene.world_T_cam)[image]
    in_camera = transform_points(cam_T_world, points[:, None])
    depth = in_camera[..., 2:].clamp(min=_MIN_DEPTH)
    pixels, _ = project(torch.cat([in_camera[..., :2], depth], dim=-1), scene.intrinsics[image])
    return pixels[:, 0].clamp(*_PIXEL_RANGE)


def robust(distance: Tensor, gamma: float) -> Tensor:
    """``(d + o) ** gamma - o ** gamma``, with the o that gives it slope 1 at 0."""
    offset = (1 / gamma) ** (1 / (gamma - 1))
    return (distance + offset) ** gamma - offset**gamma


def _optimise(
    parameters: SceneParameters,
    names: Sequence[str],
    stage: Stage,
    loss: Callable[[AlignmentProblem, Scene, float], Tensor],
    losses: list[Tensor],
    stage_name: str,
    on_step: Callable[[str, int], None] | None,
) -> Scene:
    """Run one stage; returns the scene before its last step."""
    moved = [getattr(parameters, name) for name in names]
    movable = parameters.movable()
    optimizer = torch.optim.Adam(moved, lr=stage.rate, betas=(0.9, 0.9))
    scene = parameters.scene()
    for step in range(stage.iterations):
        optimizer.param_groups[0]["lr"] = cosine_rate(stage, step)
        scene = parameters.scene()
        value = loss(parameters.problem, scene, stage.gamma)
        losses.append(value.detach())
        total = value + parameters.penalty(scene)
        if not total.isfinite():
            raise ValueError(f"the loss of the {stage_name} stage is not finite at step {step}")
        gradients = torch.autograd.grad(total, moved, allow_unused=True)
        for name, parameter, gradient in zip(names, moved, gradients, strict=True):
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            parameter.grad = (
                torch.where(movable[name], gradient, 0) if name in movable else gradient
            )
        optimizer.step()
        parameters.normalise()
        if on_step is not None:
            on_step(stage_name, step)
    return scene.detached()


def cosine_rate(stage: Stage, step: int) -> float:
    return stage.rate * (1 + math.cos(math.pi * step / stage.iterations)) / 2
