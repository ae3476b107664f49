"""Which images to pair, and along which pairs the cameras are chained.

Source: MASt3R-SfM (3DV 2025), Sec. 4.1 for the graphs and the tree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import squareform
from torch import Tensor

Pairs = list[tuple[int, int]]  # image numbers, the smaller first


def complete_pairs(num_images: int) -> Pairs:
    """Every image with every other."""
    return [(i, j) for i in range(num_images) for j in range(i + 1, num_images)]


def window_pairs(num_images: int, window: int, closed: bool = False) -> Pairs:
    """Each image with the next ``window`` ones; ``closed``: the first follows the last."""
    pairs = set()
    for i in range(num_images):
        for step in range(1, window + 1):
            if closed or i + step < num_images:
                pairs.add(tuple(sorted((i, (i + step) % num_images))))
    return sorted(pair for pair in pairs if pair[0] != pair[1])


def rig_pairs(
    num_moments: int,
    num_cameras: int,
    neighbours: Iterable[tuple[int, int]],
    window: int = 1,
) -> Pairs:
    """Cameras of a rig: the same camera over time, and neighbours at one moment.

    Image ``moment * num_cameras + camera``.

    Args:
        neighbours: pairs of cameras that see a common part of the scene.
        window: how many moments apart the same camera is paired.
    """
    pairs = set()
    for moment in range(num_moments):
        first = moment * num_cameras
        for a, b in neighbours:
            if not (0 <= a < num_cameras and 0 <= b < num_cameras and a != b):
                raise ValueError(
                    f"neighbours must be two cameras of 0..{num_cameras - 1}, got {(a, b)}"
                )
            pairs.add((first + min(a, b), first + max(a, b)))
        for later in range(moment + 1, min(moment + window, num_moments - 1) + 1):
            for camera in range(num_cameras):
                pairs.add((first + camera, later * num_cameras + camera))
    return sorted(pairs)


def spanning_tree(
    scores: Tensor,  # [V, V], symmetric, >= 0: number of matches of each pair
    num_anchors: Sequence[int],
    method: str = "ward",
) -> tuple[int, Pairs]:
    """A root and (parent, child) edges, parents before their children.

    Args:
        method: "ward": images are merged by hierarchical clustering of their overlap, which keeps
            chains short; "maximum": the tree of the most matches.

    Raises:
        ValueError: the method is not known, or the matches leave images apart.
    """
    scores = scores.double().cpu().numpy()
    if method == "ward":
        edges = _ward_edges(scores, np.asarray(num_anchors, dtype=np.float64))
    elif method == "maximum":
        tree = minimum_spanning_tree(-scores)
        edges = list(zip(*tree.nonzero(), strict=True))
    else:
        raise ValueError(f"method must be 'ward' or 'maximum', got {method!r}")
    check_connected(scores)
    root = _central(len(scores), edges)
    order, parents = _breadth_first(len(scores), edges, root)
    return root, [(parents[i], i) for i in order[1:]]


def check_connected(scores: np.ndarray) -> None:
    """Raise where matches do not link all images.

    Raises:
        ValueError: it names the images that no chain of matches links to the first.
    """
    edges = list(zip(*np.nonzero(scores), strict=True))
    reached, _ = _breadth_first(len(scores), edges, 0)
    apart = sorted(set(range(len(scores))) - set(reached))
    if apart:
        raise ValueError(
            f"no chain of matches links images {apart} to image 0: they do not overlap, or their "
            "masks leave nothing in common; leave them out or add images between"
        )


def _ward_edges(scores: np.ndarray, num_anchors: np.ndarray) -> Pairs:
    most = 3 * np.minimum(num_anchors[:, None], num_anchors[None])
    affinity = np.clip(scores / np.maximum(most, 1), 0, 1)
    distance = np.where(affinity > 0, 1 - affinity, 2.0)
    np.fill_diagonal(distance, 0)
    affinity = affinity.copy()
    representatives, edges = list(range(len(scores))), []
    for left, right in linkage(squareform(distance), method="ward")[:, :2].astype(int):
        a, b = representatives[left], representatives[right]
        edges.append((a, b))
        kept = a if affinity[a].sum() > affinity[b].sum() else b
        affinity[kept] = np.maximum(affinity[a], affinity[b])
        representatives.append(kept)
    return edges


def _central(num_images: int, edges: Pairs) -> int:
    """The node that comes late in breadth-first walks from two ends: roughly the middle."""
    one, _ = _breadth_first(num_images, edges, 0)
    other, _ = _breadth_first(num_images, edges, one[-1])
    return max(range(num_images), key=lambda node: min(one.index(node), other.index(node)))


def _breadth_first(num_images: int, edges: Pairs, start: int) -> tuple[list[int], dict[int, int]]:
    """Nodes in the order of a breadth-first walk, and each node's parent."""
    linked: dict[int, set[int]] = {i: set() for i in range(num_images)}
    for a, b in edges:
        linked[int(a)].add(int(b))
        linked[int(b)].add(int(a))
    order, parents, queue = [start], {start: -1}, deque([start])
    while queue:
        node = queue.popleft()
        for other in sorted(linked[node], key=lambda i: (i < node, i)):  # later images first
            if other not in parents:
                parents[other] = node
                order.append(other)
                queue.append(other)
    return order, parents
