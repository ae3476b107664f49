"""Matches on recorded descriptors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.pointmaps import matching
from bevdepth_plus.pointmaps.matching import Descriptors, Matches
from bevdepth_plus.pointmaps.parity.nested import compare_nested


def compare_matching(inputs: Mapping, expected: Mapping) -> dict[str, Comparison]:
    """Matches must be identical: same pixels, same order.

    Left out: the basins of attraction, which only the public code's pictures use.
    """
    actual = dict(_run(inputs, expected))
    record = {name: _results(expected[name]) for name in actual}
    return compare_nested("matching", actual, record)


def _results(record: Mapping) -> dict:
    """A record without the inputs that stand beside its results."""
    inputs = ("init_x", "init_y", "in_idx1", "in_idx2")
    return {key: value for key, value in record.items() if key not in inputs}


def _run(inputs: Mapping, expected: Mapping) -> Iterator[tuple[str, object]]:
    views = {
        view: Descriptors(inputs[f"feat{view}"], inputs[f"qonf{view}"])
        for view in ("11", "21", "22", "12")
    }
    image1, image2 = views["11"], views["21"]
    for name in ("sub8_dot", "sub4_dot", "sub8_dot_block512", "sub8_l2_kdtree", "sub1_dot"):
        found = matching.fast_reciprocal(image1, image2, int(name[3]))
        yield f"fast_{name}", _pixels(found, image1, image2)
    index1, index2 = matching.fast_reciprocal(image1, image2).unbind(1)
    yield "fast_sub8_dot_index", dict(idx1=index1, idx2=index2)
    for tolerance in (3, 5):
        name = f"fast_initxy_pixeltol{tolerance}"
        start = torch.stack([expected[name]["init_x"], expected[name]["init_y"]], dim=1)
        found = matching.within_tolerance(image1, image2, start, tolerance)
        yield name, _pixels(found, image1, image2)
    yield "full_dot", _exact(image1, image2)
    yield "full_l2_strided", _strided(image1, image2, expected["full_l2_strided"])

    both = matching.match_images([(image1, image2), (views["12"], views["22"])])
    yield "extract_correspondences_sub8", _named(both, both.confidence)
    one = matching.match_images([(image1, image2)])
    yield "extract_correspondences_nonsym_sub8", _named(one, _smaller(one, image1, image2))
    index, merged = _merged(expected["merge_corres"], image1, image2)
    yield "merge_corres", merged
    yield "merge_corres_index", dict(idx1=index[:, 0], idx2=index[:, 1])
    yield "dust3r_find_reciprocal_matches_3d", _points(inputs["P1"], inputs["P2"])


def _exact(image1: Descriptors, image2: Descriptors) -> dict[str, Tensor]:
    values1, values2 = image1.values.flatten(0, 1), image2.values.flatten(0, 1)
    every1, every2 = torch.arange(len(values1)), torch.arange(len(values2))
    index1, index2 = matching.mutual_nearest(image1, image2).unbind(1)
    return dict(
        nn_A=matching.nearest(values1, values2, every1, image2.valid),
        nn_B=matching.nearest(values2, values1, every2, image1.valid),
        reciprocal_idxA=index1,
        reciprocal_idxB=index2,
    )


def _strided(image1: Descriptors, image2: Descriptors, record: Mapping) -> dict[str, Tensor]:
    """Nearest by distance, which for unit vectors is the largest dot product."""
    values1 = image1.values.flatten(0, 1)[:: record["strideA"]]
    values2 = image2.values.flatten(0, 1)[:: record["strideB"]]
    everywhere1 = torch.ones(len(values1), dtype=torch.bool)
    everywhere2 = torch.ones(len(values2), dtype=torch.bool)
    return dict(
        nn_A=matching.nearest(values1, values2, torch.arange(len(values1)), everywhere2),
        nn_B=matching.nearest(values2, values1, torch.arange(len(values2)), everywhere1),
    )


def _points(points1: Tensor, points2: Tensor) -> dict[str, Tensor]:
    """Mutually nearest 3D points: the dot product of (p, 1) and (q, -|q|^2 / 2) ranks distance."""
    extended = [
        (
            torch.cat([points, torch.ones(len(points), 1).double()], dim=1),
            torch.cat([points, -points.square().sum(1, keepdim=True) / 2], dim=1),
            torch.ones(len(points), dtype=torch.bool),
        )
        for points in (points1.double(), points2.double())
    ]
    (query1, target1, valid1), (query2, target2, valid2) = extended
    nearest1 = matching.nearest(query2, target1, torch.arange(len(points2)), valid1)
    back = matching.nearest(query1, target2, nearest1, valid2)
    return dict(nn2_in_P1=nearest1, reciprocal_in_P2=back == torch.arange(len(points2)))


def _merged(
    record: Mapping, image1: Descriptors, image2: Descriptors
) -> tuple[Tensor, dict[str, Tensor]]:
    pairs = torch.stack([record["in_idx1"], record["in_idx2"]], dim=1).long()
    unique, first = matching.unique_pairs(pairs)
    found = _pixels(unique, image1, image2)
    return unique, dict(index=first, xy1=found["xy1"], xy2=found["xy2"])


def _pixels(found: Tensor, image1: Descriptors, image2: Descriptors) -> dict[str, Tensor]:
    matches = Matches(
        matching.to_pixels(found[:, 0], image1.size),
        matching.to_pixels(found[:, 1], image2.size),
        found.new_ones(len(found)),
    )
    inside = matching.away_from_border(matches, image1.size, image2.size)
    return dict(xy1=matches.pixels1, xy2=matches.pixels2, border_valid=inside)


def _named(matches: Matches, confidence: Tensor) -> dict[str, Tensor]:
    return dict(xy1=matches.pixels1, xy2=matches.pixels2, conf=confidence)


def _smaller(matches: Matches, image1: Descriptors, image2: Descriptors) -> Tensor:
    """The smaller confidence of a match's two descriptors, as one public variant has it."""
    (x1, y1), (x2, y2) = matches.pixels1.T, matches.pixels2.T
    return torch.minimum(image1.confidence[y1, x1], image2.confidence[y2, x2])
