from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest

from bevdepth_plus.datasets.pipeline import steps
from experiments.depth_losses import run as depth_losses
from experiments.new_rig import run as new_rig
from experiments.new_rig.figure import draw
from experiments.runner.command_line import read_results
from experiments.runner.report import summary
from experiments.runner.variants import REPO, training_config
from experiments.temporal_order import run as temporal_order
from experiments.triangulation import prior
from experiments.triangulation import run as triangulation
from experiments.two_frames import run as two_frames

# Results file -> what makes its tables.
REPORTS = {
    "new_rig/results": new_rig.tables,
    "depth_losses/results": depth_losses.report,
    "two_frames/results": two_frames.table,
    "temporal_order/results": temporal_order.report,
    "triangulation/results": triangulation.report,
    "triangulation/results_prior": prior.report,
}
# The page of an experiment, where it shows its tables.
PAGES = {
    "new_rig/results": "new_rig",
    "depth_losses/results": "metric_depth",
    "two_frames/results": "two_frames",
    "temporal_order/results": "order_over_time",
    "triangulation/results_prior": "depth_from_motion",
}


def spread_of(value: float) -> dict[str, float]:
    return {"mean": value, "min": 0.9 * value, "max": 1.1 * value, "seeds": 2}


@pytest.fixture
def results() -> dict:
    """Two variants on all rigs; the second has a fused depth."""
    scores = {"mAP": 0.4, "NDS": 0.5, "depth/bin/abs_rel": 0.2, "depth/bin/d1": 0.8}
    fused = {**scores, "depth/fused/abs_rel": 0.1, "depth/fused/d1": 0.9}
    summary = {
        name: {
            rig: {k: spread_of(v / (index + 1)) for k, v in metrics.items()}
            for index, rig in enumerate(new_rig.RIGS)
        }
        for name, metrics in (("bevdepth", scores), ("fused", fused))
    }
    return {"summary": summary, "rigs": {rig: {"perfect_mAP": 0.9} for rig in new_rig.RIGS}}


def test_the_kept_share_is_of_the_same_variants_same_rig_score(results):
    assert new_rig.kept_share(results, "fused", "nuscenes_f1.4") == pytest.approx(1 / 3)
    assert new_rig.kept_share(results, "lift_splat", "nuscenes_f1.4") is None
    (row,) = [r for r in new_rig.tables(results).splitlines() if r.startswith("| bevdepth | 0.400")]
    assert "0.133 (0.120..0.147), 33 %" in row


def test_the_tables_hold_each_depth_a_variant_has_and_only_tested_variants(results):
    text = new_rig.tables(results)
    assert "fused, bin" in text and "fused, fused" in text
    assert "bevdepth, fused" not in text and "lift_splat" not in text


def test_the_figure_is_drawn_while_cells_are_missing(results, tmp_path):
    del results["summary"]["fused"]["five_cameras"]
    path = tmp_path / "figure.png"
    draw(results, ["lift_splat", "bevdepth", "fused"], new_rig.LABELS, path)
    assert cv2.imread(str(path)).std() > 10
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize(
    "variant",
    [*new_rig.VARIANTS, *depth_losses.VARIANTS],
    ids=lambda variant: variant.name,
)
def test_every_variant_makes_a_config(variant):
    config = training_config(variant, seed=1, steps=100)
    assert config["train_cfg"]["max_iters"] == 100
    assert config["randomness"]["seed"] == 1


def test_every_set_of_losses_is_taught_by_dense_depth_and_has_its_row():
    for variant in depth_losses.VARIANTS:
        config = training_config(variant, seed=0, steps=None)
        pipeline = config["train_dataloader"]["dataset"]["pipeline"]
        names = [step["type"] for step in steps(pipeline)]
        assert "LoadDenseDepth" in names and "LidarDepthMaps" not in names
        assert "silog" in config["model"]["depth"]["priors"]["metric"]["losses"]
    scores = {"vnl": {"dense": {"depth/metric/abs_rel": spread_of(0.1)}}}
    text = depth_losses.table({"summary": scores}, "dense")
    assert "| + VNL | 0.100 (0.090..0.110) | - | - | - |" in text


def test_two_frames_are_compared_metric_by_metric():
    one, two = ({"val": {"mAVE": spread_of(v), "mAP": spread_of(0.3)}} for v in (1.5, 0.9))
    text = two_frames.table({"summary": {"one_frame": one, "two_frames": two}})
    assert "| mAVE, m/s | - | 1.500 (1.350..1.650) | 0.900 (0.810..0.990) | -40 % |" in text
    assert "| AVE/car, m/s | - | - | - | - |" in text


@pytest.mark.parametrize("name", REPORTS)
def test_the_tables_in_the_repository_are_those_of_the_recorded_runs(name):
    path = REPO / "experiments" / f"{name}.json"
    results = read_results(path)
    assert results["summary"] == summary(results["runs"])
    assert path.with_suffix(".md").read_text() == f"{REPORTS[name](results)}\n"


@pytest.mark.parametrize("name", PAGES)
def test_the_documentation_shows_tables_of_the_recorded_runs(name):
    tables = (REPO / "experiments" / f"{name}.md").read_text().splitlines()
    text = Path(REPO / "docs" / f"{PAGES[name]}.md").read_text()
    shown = [line for line in text.splitlines() if re.match(r"\| .*\| 0\.\d{3}", line)]
    assert shown and set(shown) <= set(tables)
