"""`make setup` keeps a torch that is there, builds mmcv once, and says what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tools import setup_env
from tools.environment import ROOT
from tools.setup_env import SetupError, wants_cuda_ops, wheel_cache
from tools.stamps import Stamps, fingerprint

FAKE_TORCH = """
__version__ = "2.11.0+cu130"
class version: cuda = "13.0"
class cuda: is_available = staticmethod(lambda: False)
"""
CPU_FACTS = dict(
    torch="2.13.0+cpu", cuda=None, gpu=False, tag="cp311", python=[3, 11, 7], in_venv=False
)


@pytest.fixture
def env_with_torch(tmp_path) -> Path:
    """Python of an environment in which a torch with CUDA is installed (a fake one)."""
    folder = tmp_path / "theirs"
    venv.create(folder, with_pip=False)
    package = next(folder.glob("lib/python*/site-packages")) / "torch"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_TORCH)
    return folder / "bin" / "python"


def call_ensure_venv(python: Path, target: Path) -> str:
    code = (
        "import sys; from pathlib import Path; from tools.setup_env import ensure_venv;"
        "print(ensure_venv(Path(sys.argv[1])))"
    )
    command = [str(python), "-c", code, str(target)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return answer.stdout


def test_a_new_environment_sees_the_torch_of_the_python_it_is_made_from(env_with_torch, tmp_path):
    said = call_ensure_venv(env_with_torch, tmp_path / "ours")
    assert "keeping torch 2.11.0+cu130" in said
    facts = setup_env.interpreter_facts(tmp_path / "ours" / "bin" / "python")
    assert (facts["torch"], facts["cuda"]) == ("2.11.0+cu130", "13.0")


def test_an_environment_that_exists_is_used_as_it_is(env_with_torch):
    folder = env_with_torch.parent.parent
    before = sorted(folder.rglob("*"))
    assert setup_env.ensure_venv(folder) == env_with_torch
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_cannot_become_an_environment_is_left_as_it_is(monkeypatch, tmp_path):
    (tmp_path / "thesis.tex").write_text("three years")
    failed = subprocess.CompletedProcess([], 1, stdout="ensurepip is not available", stderr="")
    monkeypatch.setattr(setup_env, "interpreter_facts", lambda python: CPU_FACTS)
    monkeypatch.setattr(setup_env.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(SetupError, match=r"apt install python3.*-venv"):
        setup_env.ensure_venv(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_an_environment_without_pip_says_how_to_get_it(env_with_torch):
    with pytest.raises(SetupError, match="-m ensurepip"):
        setup_env.set_up(env_with_torch.parent.parent)


def test_a_torch_that_does_not_load_is_one_line(env_with_torch):
    site = next(env_with_torch.parent.parent.glob("lib/python*/site-packages"))
    (site / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.13')")
    with pytest.raises(SetupError, match="torch is installed but broken: ImportError: libcudart"):
        setup_env.interpreter_facts(env_with_torch)


def test_cuda_ops_are_built_where_torch_nvcc_and_a_known_gpu_are():
    cuda = dict(torch="2.11.0+cu130", cuda="13.0", gpu=True)
    assert wants_cuda_ops(cuda, "/usr/bin/nvcc", None)
    assert not wants_cuda_ops(CPU_FACTS, "/usr/bin/nvcc", "9.0")
    login_node = dict(cuda, gpu=False)
    assert wants_cuda_ops(login_node, "/usr/bin/nvcc", "9.0")
    assert not wants_cuda_ops(login_node, "/usr/bin/nvcc", None)
    with pytest.raises(SetupError, match="CUDA_HOME"):
        wants_cuda_ops(cuda, None, None)


def test_wheels_of_two_torches_never_share_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cuda = dict(torch="2.11.0+cu130", cuda="13.0", tag="cp312")
    folders = [wheel_cache(CPU_FACTS, False), wheel_cache(cuda, True), wheel_cache(cuda, False)]
    assert [folder.name for folder in folders] == [
        "torch2.13.0+cpu-cp311",
        "torch2.11.0+cu130-cp312",
        "torch2.11.0+cu130-cp312-cpu-ops",
    ]
    assert folders[0].parent == tmp_path / "bevdepth_plus" / "wheels"


@pytest.fixture
def recorded_steps(monkeypatch, tmp_path):
    """Commands that would have run, with the wheel cache in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    commands = []

    def record(command, title, log, environment):
        commands.append(command)
        if command[3] == "wheel":
            folder = Path(command[-1])
            folder.mkdir(parents=True)
            (folder / "mmcv-2.1.0-cp311-cp311-linux_x86_64.whl").write_text("built")

    monkeypatch.setattr(setup_env, "run", record)
    return commands


def test_mmcv_is_built_once_and_then_taken_from_the_cache(recorded_steps, tmp_path):
    for _ in range(2):
        setup_env.install_mmcv(Path("python"), tmp_path, CPU_FACTS, cuda_ops=False)
    assert [command[3] for command in recorded_steps] == ["wheel", "install", "install"]
    cached = wheel_cache(CPU_FACTS, False) / "mmcv-2.1.0-cp311-cp311-linux_x86_64.whl"
    assert recorded_steps[1][-1] == recorded_steps[2][-1] == str(cached)
    assert list(cached.parent.iterdir()) == [cached]


def test_a_build_that_dies_leaves_nothing_in_the_cache_but_its_log(monkeypatch, tmp_path):
    def fail(command, title, log, environment):
        (Path(environment["TMPDIR"]) / "half.o").write_text("half")
        log.write_text("error: no memory")
        raise SetupError("mmcv failed")

    monkeypatch.setattr(setup_env, "run", fail)
    with pytest.raises(SetupError):
        setup_env.build_mmcv(Path("python"), tmp_path, cuda_ops=False)
    assert [path.name for path in tmp_path.iterdir()] == ["build.log"]


def test_a_failed_step_shows_the_end_of_its_log_and_where_it_is(tmp_path, capsys):
    code = "print('[3/77] c++ a.o'); print('fatal error: x.h'); raise SystemExit(1)"
    log = tmp_path / "step.log"
    with pytest.raises(SetupError, match=r"mmcv failed .* log is .*step\.log"):
        setup_env.run([sys.executable, "-c", code], "mmcv", log, dict(os.environ))
    assert "fatal error: x.h" in capsys.readouterr().err
    assert setup_env.compiled(log) == ", 3 of 77 objects compiled"


def test_the_first_errors_of_a_log_are_shown_however_much_follows():
    lines = ["compiling", "IndexError: list index out of range", *["pip says"] * 50, "failed"]
    shown = setup_env.telling_lines(lines)
    assert shown[0] == lines[1] and shown[-1] == "failed" and len(shown) == 9


def test_the_op_gets_cuda_kernels_under_the_rule_mmcv_follows(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(setup_env, "run", lambda *step: given.append(step[-1]))
    for cuda_ops in (False, True):
        setup_env.install_op(Path("python"), tmp_path, CPU_FACTS, cuda_ops)
    assert [environment["BEVDEPTH_PLUS_OPS_CUDA"] for environment in given] == ["0", "1"]


def test_a_long_step_shows_that_it_is_alive(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(setup_env, "HEARTBEAT", 0.0)
    code = "import time; print('[5/77] c++ a.o', flush=True); time.sleep(1.0)"
    setup_env.run([sys.executable, "-c", code], "mmcv", tmp_path / "log", dict(os.environ))
    assert "5 of 77 objects compiled" in capsys.readouterr().out


def test_a_changed_requirement_is_installed_again_and_a_changed_test_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr("tools.stamps.ROOT", tmp_path)
    (tmp_path / "ops" / "tests").mkdir(parents=True)
    source, test = tmp_path / "ops" / "pool.cpp", tmp_path / "ops" / "tests" / "test_pool.py"
    source.write_text("a")
    test.write_text("a")
    stamps = Stamps(tmp_path)
    stamps.add("op", fingerprint(["2.13.0"], [tmp_path / "ops"]))
    test.write_text("b")
    assert Stamps(tmp_path).has("op", fingerprint(["2.13.0"], [tmp_path / "ops"]))
    assert not Stamps(tmp_path).has("op", fingerprint(["2.11.0"], [tmp_path / "ops"]))
    source.write_text("b")
    assert not Stamps(tmp_path).has("op", fingerprint(["2.13.0"], [tmp_path / "ops"]))


def locked_versions() -> dict[str, str]:
    pins = {**setup_env.requirements("lock"), **setup_env.requirements("mm")}
    return {name: pin.removeprefix("==") for name, pin in pins.items()}


def test_what_somebody_removed_or_replaced_is_not_taken_for_done():
    pins = locked_versions()
    facts = dict(installed=pins, python=(3, 11, 7))
    assert setup_env.present("packages", facts)
    for replaced in (dict(numpy="2.1.3"), dict(mmengine="0.9")):
        assert not setup_env.present("packages", {**facts, "installed": {**pins, **replaced}})
    assert not setup_env.present("mmcv", facts)


def test_a_package_without_a_wheel_for_this_python_is_not_missed():
    pins = locked_versions()
    del pins["onnxruntime"]
    assert setup_env.present("packages", dict(installed=pins, python=(3, 10, 14)))
    assert not setup_env.present("packages", dict(installed=pins, python=(3, 11, 7)))


def test_a_newer_version_than_the_lock_is_kept_where_the_newest_are_asked_for():
    newer = {**locked_versions(), "numpy": "2.1.3"}
    facts = dict(installed=newer, python=(3, 11, 7))
    assert setup_env.present("packages", facts, newest=True)
    del newer["scipy"]
    assert not setup_env.present("packages", facts, newest=True)


def test_the_lock_has_one_version_within_the_range_of_each_requirement():
    lock = setup_env.requirements("lock")
    for file in (*setup_env.PACKAGES, "torch"):
        for name, accepted in setup_env.requirements(file).items():
            assert SpecifierSet(accepted).contains(lock[name].removeprefix("==")), name


def test_a_missing_compiler_is_one_line_that_names_the_package(monkeypatch):
    monkeypatch.setattr(setup_env, "find_compiler", lambda: None)
    with pytest.raises(SetupError, match="apt install g\\+\\+"):
        setup_env.check_compiler(CPU_FACTS)
