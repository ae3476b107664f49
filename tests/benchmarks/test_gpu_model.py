"""The whole-detector benchmark: its report, its process of stages, its parts."""

from __future__ import annotations

import json
import os
import sys

import gpu_model
import pytest
import torch
from detector_timing.parts import PartTimes, replaced
from detector_timing.profiling import is_launch, profiled
from detector_timing.worker import Worker
from gpu_host.prepare import Host, PreparationError, install_packages
from gpu_host.tools_run import call
from torch import nn

from tools.stamps import Stamps


class Broken(Worker):
    """A process whose stages end it, fail or hang."""

    def _start(self):
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=broken_stages, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()


def broken_stages(connection):
    connection.send(["crash", "fine", "hang"])
    while True:
        stage = connection.recv()
        if stage == "crash":
            os._exit(139)
        if stage == "hang":
            sys.stdin = None
            connection.poll(None)
        connection.send({"status": "done", "result": {"ms": 1.0}})


@pytest.fixture
def worker():
    worker = Broken({}, {}, ())
    yield worker
    worker.stop()


def test_a_stage_that_crashes_its_process_leaves_the_next_one_running(worker):
    assert worker.run("crash", 20)["status"] == "died"
    assert worker.run("fine", 20)["result"] == {"ms": 1.0}


def test_a_stage_that_hangs_is_ended_and_the_next_one_runs(worker):
    assert worker.run("hang", 0.5)["status"] == "timed out"
    assert worker.run("fine", 20)["status"] == "done"


def test_the_report_is_whole_after_every_stage_and_writes_nan_as_a_word(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    report = gpu_model.Report(path, {"gpu": "none"})
    report.add("train", {"status": "done", "result": {"loss": float("nan"), "ms": (1.0, 2.0)}})
    report.add("predict", {"status": "failed", "reason": "line\nRuntimeError: out of memory"})
    stages = json.loads(path.read_text())["stages"]
    assert stages["train"]["result"] == {"loss": "nan", "ms": [1.0, 2.0]}
    assert stages["predict"]["status"] == "failed"
    assert "failed RuntimeError: out of memory" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["gpu.json"]


def test_a_folder_without_wheels_is_refused_with_what_fills_it(tmp_path):
    host = Host(tmp_path, tmp_path, None)
    with pytest.raises(PreparationError, match="0 wheels and 0 sources of mmcv: fill it with"):
        install_packages(host, Stamps(tmp_path))


def test_a_tool_that_fails_is_reported_with_the_end_of_its_output(tmp_path):
    (tmp_path / "tool.py").write_text("raise SystemExit('no such thing')")
    answer = call([str(tmp_path / "tool.py")], tmp_path, os.environ, 60)
    assert answer["exit_status"] == 1
    assert answer["output_end"] == ["no such thing"]


def test_a_replaced_method_comes_back_after_the_block():
    layer = nn.Linear(2, 2)
    before = layer.forward(torch.ones(1, 2))
    with replaced(layer, "forward", torch.zeros_like):
        assert layer(torch.ones(1, 2)).eq(0).all()
    assert layer(torch.ones(1, 2)).equal(before)
    assert "forward" not in vars(layer)


def test_part_times_keep_one_median_for_each_part():
    times = PartTimes("cpu")
    part = times.timed("sum", lambda values: sum(values))
    assert [part([1, 2]), part([3])] == [3, 3]
    medians = times.medians()
    assert list(medians) == ["sum"]
    assert 0 <= medians["sum"]["device_ms"] < 1000


def test_the_profile_counts_operators_and_values_read_back():
    counts = profiled(lambda: [torch.ones(3).sum().item() for _ in range(5)], "cpu")
    assert counts["read_back"]["aten::item"] == 5
    assert counts["operators"] >= 15
    assert counts["kernel_launches"] == 0


@pytest.mark.parametrize(
    ("key", "launch"),
    [("cudaLaunchKernelExC", True), ("cuLaunchKernel", True), ("cudaMemcpyAsync", False)],
)
def test_launches_are_known_by_the_runtimes_and_the_drivers_names(key, launch):
    assert is_launch(key) is launch
