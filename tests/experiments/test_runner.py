from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from bevdepth_plus.errors import DataError
from experiments.runner.command_line import read_results, select
from experiments.runner.experiment import Experiment
from experiments.runner.report import headline, spread
from experiments.runner.single_run import Tools, config_hash, data_root_of, write_config
from experiments.runner.variants import (
    TestSet,
    Variant,
    combined,
    merged,
    training_config,
    with_steps,
)

CONFIG = """
optimizer = dict(type="AdamW", lr=0.1)
pipeline = [dict(type="Load"), dict(type="Crop", size=(8, 8))]
train_cfg = dict(by_epoch=False, max_iters=100, val_interval=100)
train_dataloader = dict(dataset=dict(data_root="data/here/"))
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
def lines() -> list[str]:
    """What the experiment logs."""
    return []


@pytest.fixture
def experiment(tmp_path, lines):
    """Makes an experiment of stand-in tools; call it again for a second session."""
    for name, text in (("config", CONFIG), ("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.py").write_text(text)
    tools = Tools(*((sys.executable, "-S", tmp_path / f"{name}.py") for name in ("train", "test")))
    config = str(tmp_path / "config.py")

    def make(variants=None, factor=2.0, seeds=(0, 1), steps=None) -> Experiment:
        variants = variants or {"plain": {}, "good": {"quality": 3.0}}
        return Experiment(
            "stub",
            [
                Variant(name, config, options, to_test=options.pop("to_test", None))
                for name, options in variants.items()
            ],
            [TestSet("here"), TestSet("there", {"factor": factor})],
            seeds,
            steps,
            tmp_path / "results.json",
            tmp_path / "runs",
            tools=tools,
            log=lines.append,
        )

    return make


def calls(tmp_path: Path, kind: str) -> int:
    files = (tmp_path / "runs").rglob("calls")
    return sum(path.read_text().count(kind) for path in files)


def test_every_variant_seed_and_test_set_gets_its_cell_and_the_spread_over_seeds(
    experiment, tmp_path
):
    assert experiment().work(jobs=2) == []
    results = json.loads((tmp_path / "results.json").read_text())
    cell = results["runs"]["good"]["1"]["tests"]["there"]["metrics"]
    assert cell["mAP"] == 8.0
    assert cell["depth/bin/abs_rel"] == 0.5
    summary = results["summary"]["good"]["there"]["mAP"]
    assert summary == {"mean": 7.0, "min": 6.0, "max": 8.0, "seeds": 2}
    entry = results["runs"]["plain"]["0"]
    assert entry["steps"] == 100
    assert entry["commit"] and entry["torch"] and entry["cpu"]


def test_a_finished_experiment_is_not_repeated(experiment, tmp_path):
    experiment(seeds=(0,)).work()
    experiment(seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (2, 4)


def test_a_changed_variant_is_trained_anew_and_the_others_are_kept(experiment, tmp_path):
    experiment(seeds=(0,)).work()
    experiment({"plain": {}, "good": {"quality": 4.0}}, seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (3, 6)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["good"]["here"]["mAP"]["mean"] == 4.0


def test_seeds_of_another_length_do_not_enter_the_mean(experiment, tmp_path):
    experiment(seeds=(0, 1)).work()
    experiment(seeds=(1,), steps=50).work()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["plain"]["here"]["mAP"]["seeds"] == 1
    assert results["runs"]["plain"]["0"]["steps"] == 100
    experiment(seeds=(0, 1)).work()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["plain"]["here"]["mAP"]["seeds"] == 2


def test_the_last_whole_step_of_a_log_in_writing_is_read(experiment):
    (run, *_) = experiment().runs
    assert run.step() == 0
    log = run.folder / "20260101" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 2.0, "step": 50}\n{"loss": 1.0, "step": 100}\n{"loss": 0.9, "st')
    assert run.step() == 100


def test_a_changed_test_set_is_scored_again_without_training(experiment, tmp_path):
    experiment(seeds=(0,)).work()
    experiment(factor=5.0, seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (2, 6)


def test_a_stopped_training_goes_on_in_its_folder(experiment, tmp_path):
    first = experiment(seeds=(0,))
    folder = first.runs[0].folder
    folder.mkdir(parents=True)
    (folder / "last_checkpoint").write_text(str(folder / "iter_50.pth"))
    first.work()
    assert calls(tmp_path, "train") == 2
    assert (folder / "last_checkpoint").read_text().endswith("iter_100.pth")


def test_a_failing_run_is_reported_and_the_others_go_on(experiment, tmp_path):
    (failure,) = experiment({"bad": {"quality": -1.0}, "plain": {}}, seeds=(0,)).work()
    assert "bad seed 0" in failure
    assert "quality is below 0" in failure
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["summary"]) == ["plain"]


def recorded_elsewhere(tmp_path: Path, **changes) -> None:
    """Make the entries of the results file those of an older form of the configs."""
    path = tmp_path / "results.json"
    results = json.loads(path.read_text())
    for seeds in results["runs"].values():
        for entry in seeds.values():
            entry.update(hash="of an older form", kept_from="abc1234", **changes)
            entry["tests"]["here"]["metrics"]["mAP"] = 0.25
    path.write_text(json.dumps(results))


def test_a_recorded_run_is_kept_though_its_hash_is_of_an_older_config(experiment, tmp_path, lines):
    experiment({"plain": {}}, seeds=(0,)).work()
    recorded_elsewhere(tmp_path)
    experiment(seeds=(0,)).work()
    assert (calls(tmp_path, "train"), calls(tmp_path, "test")) == (2, 4)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["runs"]["plain"]["0"]["hash"] == "of an older form"
    assert results["summary"]["plain"]["here"]["mAP"]["mean"] == 0.25
    assert any(line.startswith("plain seed 0: kept as recorded at commit") for line in lines)


@pytest.mark.parametrize("changes", [dict(steps=50), dict(data_root="data/elsewhere/")], ids=str)
def test_a_recorded_run_of_another_length_or_data_is_trained_anew(experiment, tmp_path, changes):
    experiment({"plain": {}}, seeds=(0,)).work()
    recorded_elsewhere(tmp_path, **changes)
    experiment({"plain": {}}, seeds=(0,)).work()
    results = json.loads((tmp_path / "results.json").read_text())
    assert "kept_from" not in results["runs"]["plain"]["0"]
    assert results["summary"]["plain"]["here"]["mAP"]["mean"] == 1.0


def test_the_checkpoint_that_a_variant_makes_of_its_last_one_is_tested(experiment, tmp_path):
    def doubled(last: Path) -> Path:
        path = last.with_name("doubled.pth")
        path.write_text(str(2 * float(last.read_text())))
        return path

    variants = {"plain": {}, "doubled": dict(to_test=doubled)}
    experiment(variants, seeds=(1,)).work()
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    assert summary["plain"]["here"]["mAP"]["mean"] == 2.0
    assert summary["doubled"]["here"]["mAP"]["mean"] == 4.0


def test_none_deletes_dicts_merge_by_name_and_the_arguments_stay():
    config = dict(
        a=dict(b=1, c=2), steps=dict(load=dict(x=1), pack={}), whole=dict(type="Old", k=1)
    )
    overrides = dict(
        a=dict(b=None), steps=dict(load=dict(y=3)), whole=dict(_delete_=True, type="New"), z=[1]
    )
    new = merged(config, overrides)
    assert new == dict(
        a=dict(c=2), steps=dict(load=dict(x=1, y=3), pack={}), whole=dict(type="New"), z=[1]
    )
    assert config["steps"]["load"] == dict(x=1) and config["a"] == dict(b=1, c=2)
    assert overrides["whole"]["_delete_"]


def test_combined_overrides_do_to_a_config_what_they_do_one_after_the_other():
    config = dict(model=dict(fusion=dict(type="Concat"), frames=2), steps=dict(load=1, pack=2))
    first = dict(model=dict(fusion=None, frames=1))
    second = dict(model=dict(frames=3, size=4), steps=dict(_delete_=True, maps=5))
    both = combined(first, second)
    assert merged(config, both) == dict(model=dict(frames=3, size=4), steps=dict(maps=5))
    assert merged(config, both) == merged(merged(config, first), second)
    assert first == dict(model=dict(fusion=None, frames=1))


def test_an_override_that_numbers_the_items_of_a_list_is_refused():
    message = r"data.items: expected a list of 1 items to replace the old one, got a dict of 0"
    with pytest.raises(DataError, match=message):
        merged(dict(data=dict(items=[1])), dict(data=dict(items={0: 2})))


def test_a_written_config_is_read_as_it_was_in_the_order_of_its_steps(tmp_path):
    config = dict(
        pipeline=dict(load=dict(type="Load"), augment=dict(size=(8, 8)), pack=dict(type="Pack")),
        names=["a", None, 1.5],
    )
    write_config(config, tmp_path / "config.py")
    read = Config.fromfile(tmp_path / "config.py").to_dict()
    assert read == config
    assert list(read["pipeline"]) == ["load", "augment", "pack"]
    other_order = dict(config, pipeline=dict(reversed(config["pipeline"].items())))
    assert config_hash(other_order) != config_hash(config)


def test_a_config_that_counts_epochs_is_refused():
    with pytest.raises(DataError, match="by_epoch=False"):
        training_config(Variant("epochs", "configs/bevdepth_r50_256x704_24e.py"), 0, None)


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
        select([Variant("a", "x.py")], "a,b")


def test_a_report_without_results_says_where_they_should_be(tmp_path):
    with pytest.raises(DataError, match="results.json does not exist; leave out --report"):
        read_results(tmp_path / "results.json")


def test_undefined_scores_are_left_out_and_one_seed_has_no_spread():
    report = dict(mAP=0.5, NDS=None, tp_errors={}, per_class={}, depth=None)
    assert headline(report) == {"mAP": 0.5}
    assert spread({"mean": 0.5, "min": 0.5, "max": 0.5, "seeds": 1}) == "0.500"
    assert spread({"mean": 0.5, "min": 0.4, "max": 0.6, "seeds": 2}) == "0.500 (0.400..0.600)"


def test_a_report_without_boxes_tells_depth_by_range_and_motion():
    scores = dict(abs_rel=0.2, silog=20.0, rmse=3.0, d1=0.7)
    groups = {"by_range": {"0-10": scores}, "by_baseline": {"0-0.1": dict(scores, abs_rel=None)}}
    flat = headline({"depth": {"dense": {"overall": scores, **groups}}})
    assert flat["depth/dense/abs_rel"] == 0.2 and flat["depth/dense/by_range/0-10/abs_rel"] == 0.2
    assert not any("by_baseline" in name for name in flat)


def test_sequences_name_the_roots_of_their_sources():
    sources = [dict(layout="nuscenes", root="a"), dict(layout="tum", root="b")]
    assert data_root_of(dict(type="SequenceDataset", sources=sources)) == "a, b"
    assert data_root_of(dict(data_root="data/here/")) == "data/here/"
