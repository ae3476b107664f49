from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from single_run import Tools
from training_report import headline, spread
from training_runs import Benchmark, chosen
from training_variants import TestSet, Variant, merged, with_steps

from bevdepth_plus.errors import DataError

CONFIG = """
optimizer = dict(type="AdamW", lr=0.1)
pipeline = [dict(type="Load"), dict(type="Crop", size=(8, 8))]
train_cfg = dict(by_epoch=False, max_iters=100, val_interval=100)
param_scheduler = [dict(type="LinearLR", begin=0, end=10), dict(T_max=90, begin=10, end=100)]
randomness = dict(seed=0)
quality = 1.0
val_dataloader = dict()
"""

# Stand-ins for the tools: they take the same arguments and leave the same files.
TRAIN = """
import sys
from pathlib import Path
from runpy import run_path
config = run_path(sys.argv[1])
work_dir = Path(sys.argv[sys.argv.index("--work-dir") + 1])
assert sys.argv[-1] == "--resume" and config["val_dataloader"] is None
with open(work_dir / "calls", "a") as calls:
    calls.write("train\\n")
if config['quality'] < 0:
    sys.exit("train.py: quality is below 0")
checkpoint = work_dir / f"iter_{config['train_cfg']['max_iters']}.pth"
checkpoint.write_text(str(config["quality"] + config["randomness"]["seed"]))
(work_dir / "last_checkpoint").write_text(str(checkpoint))
"""
TEST = """
import json, sys
from pathlib import Path
from runpy import run_path
config = run_path(sys.argv[1])
score = float(Path(sys.argv[2]).read_text()) * config.get("factor", 1)
work_dir = Path(sys.argv[sys.argv.index("--work-dir") + 1])
with open(work_dir / "calls", "a") as calls:
    calls.write("test\\n")
report = dict(mAP=score, NDS=score, tp_errors=dict(vel_err=1 / score),
              per_class=dict(car=dict(ap=score, vel_err=None)),
              depth=dict(bin=dict(overall=dict(abs_rel=0.5, silog=1, rmse=2, d1=0.9))))
(work_dir / "metrics.json").write_text(json.dumps(report))
"""


@pytest.fixture
def bench(tmp_path):
    """Makes a benchmark of stand-in tools; call it again for a second session."""
    for name, text in (("config", CONFIG), ("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.py").write_text(text)
    tools = Tools(*((sys.executable, "-S", tmp_path / f"{name}.py") for name in ("train", "test")))
    config = str(tmp_path / "config.py")

    def make(variants=None, factor=2.0, seeds=(0, 1), steps=None) -> Benchmark:
        variants = variants or {"plain": {}, "good": {"quality": 3.0}}
        return Benchmark(
            "stub",
            [Variant(name, config, overrides) for name, overrides in variants.items()],
            [TestSet("here"), TestSet("there", {"factor": factor})],
            seeds,
            steps,
            tmp_path / "results.json",
            tmp_path / "runs",
            tools=tools,
            say=lambda line: None,
        )

    return make


def calls(tmp_path: Path, kind: str) -> int:
    files = (tmp_path / "runs").rglob("calls")
    return sum(path.read_text().count(kind) for path in files)


def test_every_variant_seed_and_test_set_gets_its_cell_and_the_spread_over_seeds(bench, tmp_path):
    assert bench().work(jobs=2) == []
    results = json.loads((tmp_path / "results.json").read_text())
    cell = results["runs"]["good"]["1"]["tests"]["there"]["metrics"]
    assert cell["mAP"] == 8.0
    assert cell["depth/bin/abs_rel"] == 0.5
    summary = results["summary"]["good"]["there"]["mAP"]
    assert summary == {"mean": 7.0, "min": 6.0, "max": 8.0, "seeds": 2}
    entry = results["runs"]["plain"]["0"]
    assert entry["steps"] == 100
    assert entry["commit"] and entry["torch"] and entry["cpu"]


def test_a_finished_benchmark_is_not_repeated(bench, tmp_path):
    bench(seeds=(0,)).work()
    bench(seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (2, 4)


def test_a_changed_variant_is_trained_anew_and_the_others_are_kept(bench, tmp_path):
    bench(seeds=(0,)).work()
    bench({"plain": {}, "good": {"quality": 4.0}}, seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (3, 6)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["good"]["here"]["mAP"]["mean"] == 4.0


def test_seeds_of_another_length_do_not_enter_the_mean(bench, tmp_path):
    bench(seeds=(0, 1)).work()
    bench(seeds=(1,), steps=50).work()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["plain"]["here"]["mAP"]["seeds"] == 1
    assert results["runs"]["plain"]["0"]["steps"] == 100
    bench(seeds=(0, 1)).work()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["plain"]["here"]["mAP"]["seeds"] == 2


def test_the_last_whole_step_of_a_log_in_writing_is_read(bench):
    (run, *_) = bench().runs
    assert run.step() == 0
    log = run.folder / "20260101" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 2.0, "step": 50}\n{"loss": 1.0, "step": 100}\n{"loss": 0.9, "st')
    assert run.step() == 100


def test_a_changed_test_set_is_scored_again_without_training(bench, tmp_path):
    bench(seeds=(0,)).work()
    bench(factor=5.0, seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (2, 6)


def test_a_stopped_training_goes_on_in_its_folder(bench, tmp_path):
    first = bench(seeds=(0,))
    folder = first.runs[0].folder
    folder.mkdir(parents=True)
    (folder / "last_checkpoint").write_text(str(folder / "iter_50.pth"))
    first.work()
    assert calls(tmp_path, "train") == 2
    assert (folder / "last_checkpoint").read_text().endswith("iter_100.pth")


def test_a_failing_run_is_reported_and_the_others_go_on(bench, tmp_path):
    (failure,) = bench({"bad": {"quality": -1.0}, "plain": {}}, seeds=(0,)).work()
    assert "bad seed 0" in failure
    assert "quality is below 0" in failure
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["summary"]) == ["plain"]


def test_none_deletes_integers_address_list_items_and_the_argument_stays():
    config = dict(a=dict(b=1, c=2), items=[dict(x=1), dict(x=2)], whole=dict(type="Old", k=1))
    new = merged(
        config,
        dict(a=dict(b=None), items={1: dict(y=3)}, whole=dict(_delete_=True, type="New"), z=1),
    )
    assert new == dict(a=dict(c=2), items=[dict(x=1), dict(x=2, y=3)], whole=dict(type="New"), z=1)
    assert config["items"][1] == dict(x=2) and config["a"] == dict(b=1, c=2)


def test_an_override_beside_a_list_is_an_error():
    with pytest.raises(DataError, match="1 list items"):
        merged(dict(items=[1]), dict(items={1: 2}))


def test_schedule_and_warm_up_follow_the_number_of_steps():
    config = dict(
        train_cfg=dict(by_epoch=False, max_iters=100),
        param_scheduler=[dict(begin=0, end=10), dict(T_max=90, begin=10, end=100)],
    )
    short = with_steps(config, 50)
    assert short["train_cfg"]["max_iters"] == 50
    assert short["param_scheduler"] == [dict(begin=0, end=5), dict(T_max=45, begin=5, end=50)]


def test_an_unknown_variant_on_the_command_line_is_named():
    with pytest.raises(DataError, match="no variant 'b'; there are a"):
        chosen([Variant("a", "x.py")], "a,b")


def test_undefined_scores_are_left_out_and_one_seed_has_no_spread():
    report = dict(mAP=0.5, NDS=None, tp_errors={}, per_class={}, depth=None)
    assert headline(report) == {"mAP": 0.5}
    assert spread({"mean": 0.5, "min": 0.5, "max": 0.5, "seeds": 1}) == "0.500"
    assert spread({"mean": 0.5, "min": 0.4, "max": 0.6, "seeds": 2}) == "0.500 (0.400..0.600)"
