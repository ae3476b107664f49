"""What a global alignment moves: cameras, scales and anchor depths; and what they make of a scene.

Source: MASt3R-SfM (3DV 2025), Sec. 4.3.

A camera's free parameter is not its centre but the point one median depth in front of it: turning
then turns about the scene, and a longer focal length moves the camera back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bevdepth_plus.geometry.quaternions import quaternion_to_rotation, rotation_to_quaternion
from bevdepth_plus.pointmaps.alignment_problem import AlignmentProblem

FREE = float("inf")


@dataclass(frozen=True)
class Known:
    """What is known of V cameras beforehand. Sigma 0: exactly; inf: nothing.

    Attributes:
        world_T_cam: ``[V, 4, 4]``, or None: no pose is known.
        centre_sigma: metres, ``[V]``.
        rotation_sigma: radians, ``[V]``; 0 where ``centre_sigma`` is 0, and nowhere else.
        intrinsics: ``[V, 3, 3]`` with fx = fy, or None.
        focal_sigma: relative (0.02 is 2 %), ``[V]``.
    """

    world_T_cam: Tensor | None = None
    centre_sigma: Tensor | None = None
    rotation_sigma: Tensor | None = None
    intrinsics: Tensor | None = None
    focal_sigma: Tensor | None = None

    @property
    def has_poses(self) -> bool:
        return self.world_T_cam is not None and bool(self.centre_sigma.isfinite().any())

    def checked(self, num_images: int) -> Known:
        """The same, after every shape and value was looked at; unknown ones become the identity.

        Raises:
            ValueError: a shape is wrong, a pose is no rigid motion (as one with a flipped axis), or
                a sigma is negative or missing.
        """
        for name, values, sigmas, shape in (
            ("world_T_cam", self.world_T_cam, (self.centre_sigma, self.rotation_sigma), (4, 4)),
            ("intrinsics", self.intrinsics, (self.focal_sigma,), (3, 3)),
        ):
            if values is None:
                continue
            if values.shape != (num_images, *shape):
                raise ValueError(
                    f"{name} must be {(num_images, *shape)}, got {tuple(values.shape)}"
                )
            for sigma in sigmas:
                if sigma is None or sigma.shape != (num_images,) or not (sigma >= 0).all():
                    raise ValueError(f"{name} needs a sigma >= 0 for each of {num_images} images")
        if self.world_T_cam is not None:
            if ((self.centre_sigma == 0) != (self.rotation_sigma == 0)).any():
                raise ValueError("a pose is exact in both or neither: centre_sigma, rotation_sigma")
            for image in self.centre_sigma.isfinite().nonzero()[:, 0].tolist():
                _check_rigid(self.world_T_cam[image], image)
        return replace(
            self,
            world_T_cam=_only(self.world_T_cam, self.centre_sigma),
            intrinsics=_only(self.intrinsics, self.focal_sigma),
        )


@dataclass(frozen=True)
class Scene:
    """Cameras and depths as the parameters make them.

    Attributes:
        intrinsics: ``[V, 3, 3]``.
        world_T_cam: ``[V, 4, 4]``.
        anchor_depth: of all images, one after the other, ``[A]``.
    """

    intrinsics: Tensor
    world_T_cam: Tensor
    anchor_depth: Tensor

    def detached(self) -> Scene:
        return Scene(*(x.detach().clone() for x in vars(self).values()))


class SceneParameters(nn.Module):
    """Everything that is optimised.

    Where no pose is known, a camera's pose is relative to its parent's in the tree, and the scale
    is that of the image which says the scene is smallest. Where poses are known, every pose is in
    the world: one that is known exactly is a constant, and no parameter can move it.
    """

    def __init__(
        self,
        problem: AlignmentProblem,
        tree: tuple[int, Sequence[tuple[int, int]]],
        known: Known,
        shared_intrinsics: bool = False,
    ) -> None:
        super().__init__()
        self.known = known
        self.root, self.edges = tree
        self.in_world = known.has_poses
        count, like = problem.num_images, problem.focals
        focals, principal = problem.focals, problem.sizes / 2
        if known.intrinsics is not None:
            told = known.focal_sigma.isfinite()
            focals = torch.where(told, known.intrinsics[:, 0, 0], focals)
            principal = torch.where(told[:, None], known.intrinsics[:, :2, 2], principal)
        # What is told replaces the focal lengths that depths are relative to.
        self.problem = problem = replace(problem, focals=focals)
        if shared_intrinsics:
            _check_one_size(problem.sizes)
            focals, principal = focals.mean()[None], principal.mean(0, keepdim=True)
        quaternion, pivot = self._start(like)
        self.quaternion = nn.Parameter(quaternion)  # [V, 4]
        self.pivot = nn.Parameter(pivot)  # [V, 3]
        self.log_size = nn.Parameter(torch.zeros_like(like))  # [V]
        self.log_focal = nn.Parameter(focals.log())  # [V], or [1] where shared
        self.principal_point = nn.Parameter(principal / problem.sizes[: len(principal)])
        median = problem.median_depth[problem.anchor_image]
        self.depth = nn.Parameter(problem.anchor_depth / median)  # [A], 1 is the median
        self.count = count

    def scene(self) -> Scene:
        """Cameras and depths of the parameters as they are."""
        problem = self.problem
        intrinsics = self.intrinsics()
        focals = intrinsics[:, 0, 0]
        size = self.log_size.exp()
        scale = 1.0 if self.in_world else 1 / size.min()
        median = size * problem.median_depth * focals / problem.focals  # [V], camera to pivot
        world_T_cam = self._poses(intrinsics, median, scale)
        of_anchor = problem.anchor_image
        spread = (problem.median_depth * size)[of_anchor]
        depth = scale * (median[of_anchor] + (self.depth - 1) * spread)
        return Scene(intrinsics, world_T_cam, depth)

    def intrinsics(self) -> Tensor:
        """Pinhole matrices ``[V, 3, 3]``."""
        diagonal = self.problem.sizes.norm(dim=1)
        focals = self.log_focal.exp().expand(self.count).clamp(0.25 * diagonal, 10 * diagonal)
        principal = self.principal_point * self.problem.sizes
        told = self.known.intrinsics
        if told is not None:
            exact = self.known.focal_sigma == 0
            focals = torch.where(exact, told[:, 0, 0], focals)
            principal = torch.where(exact[:, None], told[:, :2, 2], principal)
        zero, one = torch.zeros_like(focals), torch.ones_like(focals)
        rows = ((focals, zero, principal[:, 0]), (zero, focals, principal[:, 1]), (zero, zero, one))
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    def penalty(self, scene: Scene) -> Tensor:
        """Half the mean squared deviation from what is known, in sigmas; 0 where it is exact."""
        known, total = self.known, scene.intrinsics.new_zeros(())
        if self.in_world:
            apart = scene.world_T_cam[:, :3, 3] - known.world_T_cam[:, :3, 3]
            total = total + _in_sigmas(apart.square().sum(1), known.centre_sigma)
            product = scene.world_T_cam[:, :3, :3] - known.world_T_cam[:, :3, :3]
            # |R - R'|^2 = 8 sin^2(angle / 2), about 2 angle^2, and smooth where both are equal.
            total = total + _in_sigmas(product.square().sum((1, 2)) / 2, known.rotation_sigma)
        if known.intrinsics is not None:
            ratio = (scene.intrinsics[:, 0, 0] / known.intrinsics[:, 0, 0]).log()
            total = total + _in_sigmas(ratio.square(), known.focal_sigma)
        return total

    @torch.no_grad()
    def normalise(self) -> None:
        """Give the quaternions length 1."""
        self.quaternion /= self.quaternion.norm(dim=1, keepdim=True)

    def movable(self) -> dict[str, Tensor]:
        """For each parameter, False where it must never move, bool of its shape (broadcast)."""
        free = torch.ones_like(self.log_size, dtype=torch.bool)
        pose = free.clone()
        if self.in_world:
            pose = self.known.centre_sigma > 0
        else:
            pose[self.root] = False  # only says where the world is
        return dict(quaternion=pose[:, None], pivot=pose[:, None])

    def _poses(self, intrinsics: Tensor, median: Tensor, scale: Tensor | float) -> Tensor:
        local = torch.eye(4).to(median).repeat(self.count, 1, 1)
        local[:, :3, :3] = quaternion_to_rotation(self.quaternion)
        local[:, :3, 3] = self.pivot
        if not self.in_world:
            chained = {self.root: local[self.root]}
            for parent, child in self.edges:
                chained[child] = chained[parent] @ local[child]
            local = torch.stack([chained[i] for i in range(self.count)])
        to_pivot = self._camera_to_pivot(intrinsics, median)
        centre = scale * (local[:, :3, 3] - (local[:, :3, :3] @ to_pivot[..., None])[..., 0])
        upper = torch.cat([local[:, :3, :3], centre[..., None]], dim=2)
        world_T_cam = torch.cat([upper, local[:, 3:]], dim=1)
        if not self.in_world:
            return world_T_cam
        exact = (self.known.centre_sigma == 0)[:, None, None]
        return torch.where(exact, self.known.world_T_cam, world_T_cam)

    def _camera_to_pivot(self, intrinsics: Tensor, median: Tensor) -> Tensor:
        """From the camera to the point one median depth along the image's centre, ``[V, 3]``."""
        aside = (self.problem.sizes / 2 - intrinsics[:, :2, 2]) / intrinsics[:, 0, 0, None]
        return median[:, None] * torch.cat([aside, torch.ones_like(aside[:, :1])], dim=1)

    def _start(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Quaternions ``[V, 4]`` and pivots ``[V, 3]`` to start from.

        A camera of unknown pose starts where its neighbour in the tree is.
        """
        count = len(like)
        quaternion, pivot = like.new_zeros(count, 4), like.new_zeros(count, 3)
        quaternion[:, 3] = 1
        if not self.in_world:
            return quaternion, pivot
        poses = self.known.world_T_cam.clone()
        told = self.known.centre_sigma.isfinite().tolist()
        linked = [*self.edges, *((child, parent) for parent, child in self.edges)]
        while not all(told):
            for a, b in linked:
                if told[a] and not told[b]:
                    poses[b], told[b] = poses[a], True
        quaternion = rotation_to_quaternion(poses[:, :3, :3])
        ahead = self.problem.median_depth[:, None] * poses[:, :3, 2]
        return quaternion, poses[:, :3, 3] + ahead


def _in_sigmas(square: Tensor, sigma: Tensor) -> Tensor:
    """Half the mean of squares over sigma squared, where sigma is neither 0 nor inf."""
    soft = (sigma > 0) & sigma.isfinite()
    terms = torch.where(soft, square / torch.where(soft, sigma, 1).square(), 0)
    return terms.sum() / 2 / soft.sum().clamp(min=1)


def _only(matrices: Tensor | None, sigma: Tensor | None) -> Tensor | None:
    """The matrices that are known, the identity elsewhere: what is not known may be NaN."""
    if matrices is None:
        return None
    identity = torch.eye(matrices.shape[-1]).to(matrices)
    return torch.where(sigma.isfinite()[:, None, None], matrices, identity)


def _check_rigid(pose: Tensor, image: int) -> None:
    rotation = pose[:3, :3].double()
    if not pose.isfinite().all():
        raise ValueError(f"pose of image {image} is not finite")
    if not torch.allclose(rotation @ rotation.mT, torch.eye(3).to(rotation), atol=1e-3):
        raise ValueError(f"pose of image {image} is no rotation: its axes are not orthonormal")
    if torch.linalg.det(rotation) < 0:
        raise ValueError(
            f"pose of image {image} has a flipped axis (determinant -1): cameras are x right, "
            "y down, z forward"
        )


def _check_one_size(sizes: Tensor) -> None:
    if (sizes != sizes[0]).any():
        raise ValueError("shared intrinsics need images of one size")
