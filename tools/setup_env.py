#!/usr/bin/env python
"""The logic behind `make setup`: an environment with the tested stack, built once, kept.

    python3 tools/setup_env.py [--venv .venv] [--newest]

Runs on the standard library alone. `requirements/` says which versions are accepted (ranges) and
which one of each is tested (lock.txt). What is done is written down in the environment with a
fingerprint of what it depended on, so that a second run only asks torch for its version.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.environment import ROOT, find_compiler, find_nvcc, python_problem
from tools.stamps import Stamps, fingerprint

REQUIREMENTS = ROOT / "requirements"
LOCK = REQUIREMENTS / "lock.txt"
# requirement files installed with their dependencies
PACKAGES = ("build", "deploy", "runtime", "dev")
MMCV = "mmcv==2.1.0"  # the newest that mmdet3d 1.4.0 accepts with mmdet 3.3.0
HEARTBEAT = 20.0  # seconds between two signs of life
ENOUGH_DISK = 6e9  # bytes: the environment (2 GB), pip's downloads and the build of mmcv

FACTS = """
import json, sys, sysconfig
from importlib.metadata import distributions
installed = {}
for found in distributions():  # in the order of sys.path: the first is the one that is imported
    name = found.metadata["Name"] or ""  # a half-removed package has none
    installed.setdefault(name.lower().replace("_", "-"), found.version)
try:
    import torch
    facts = [torch.__version__, torch.version.cuda, torch.cuda.is_available()]
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    facts = [None, None, False]
print(json.dumps(dict(
    installed=installed, torch=facts[0], cuda=facts[1], gpu=facts[2], python=sys.version_info[:3],
    tag="cp%d%d" % sys.version_info[:2], headers=sysconfig.get_paths()["include"],
    in_venv=sys.prefix != sys.base_prefix, paths=[p for p in sys.path if p.endswith("-packages")],
)))
"""


class SetupError(Exception):
    """Something the user must mend; the message is one line."""


def set_up(venv: Path, newest: bool = False) -> None:
    """Brings `venv` up to the stack; does only what is missing or out of date.

    Args:
        venv: the environment, made where it is absent.
        newest: take the newest versions of the ranges where nothing fitting is installed, instead
            of the lock's versions.
    """
    started = time.monotonic()
    python = ensure_venv(venv)
    facts = interpreter_facts(python)
    check_python(facts["python"])
    if "pip" not in facts["installed"]:  # as uv makes them
        raise SetupError(f"{venv} has no pip: run {python} -m ensurepip first")
    if facts["torch"] is None:
        note_disk_space(venv)
        install(python, venv, "torch", requirement_options("torch", newest=newest))
        facts = interpreter_facts(python)
    cuda_ops = wants_cuda_ops(facts, find_nvcc(), os.environ.get("TORCH_CUDA_ARCH_LIST"))
    done = Stamps(venv)
    missing = [
        step
        for step in all_steps(facts, cuda_ops, newest)
        if not (done.has(*step[:2]) and present(step[0], facts, newest))
    ]
    if missing:
        print(f"setting up {venv} (torch {facts['torch']}, Python {facts['tag']})")
        check_compiler(facts)
    for name, key, action in missing:
        action(python, venv, facts, cuda_ops)
        done.add(name, key)
    if missing:
        diagnosis = subprocess.run([str(python), str(ROOT / "tools" / "doctor.py")], check=False)
        if diagnosis.returncode != 0:
            raise SetupError("the environment is built, but something in it is broken (see above)")
    print(f"environment ready: {venv} ({elapsed(started)})")


def all_steps(facts: dict, cuda_ops: bool, newest: bool) -> list[tuple[str, str, Callable]]:
    """(name, fingerprint of what it depends on, function that does it) of each step, in order."""
    base = [facts["torch"], facts["tag"], str(cuda_ops)]
    packages = fingerprint([*base, str(newest)], [REQUIREMENTS])
    op = fingerprint([*base, str(find_nvcc())], [ROOT / "ops"])
    plugin = fingerprint(base, [ROOT / "setup.py", ROOT / "pyproject.toml"])
    return [
        ("packages", packages, partial(install_packages, newest=newest)),
        ("mmcv", fingerprint([*base, MMCV], []), install_mmcv),
        ("bevdepth-plus-ops", op, install_op),
        ("bevdepth-plus", plugin, install_plugin),
    ]


def ensure_venv(venv: Path) -> Path:
    """The Python of `venv`, which is created from this Python where it does not exist.

    An environment that exists is used as it is, whoever made it. A new one sees this Python's
    packages when torch is among them, so that a torch with CUDA is kept.
    """
    python = venv / "bin" / "python"
    if python.exists():
        return python
    check_python(sys.version_info[:3])
    facts = interpreter_facts(Path(sys.executable))
    keep_torch = facts["torch"] is not None
    command = [sys.executable, "-m", "venv"]
    if keep_torch and not facts["in_venv"]:
        command.append("--system-site-packages")
    was_there = venv.exists()
    answer = subprocess.run([*command, str(venv)], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        if not was_there:
            shutil.rmtree(venv, ignore_errors=True)
        version = "{}.{}".format(*sys.version_info[:2])
        if "ensurepip" in answer.stdout:
            raise SetupError(f"the venv module is incomplete: apt install python{version}-venv")
        raise SetupError(f"cannot create {venv}: {last_line(answer.stderr or answer.stdout)}")
    if keep_torch:
        print(f"keeping torch {facts['torch']} of {sys.executable}")
    if keep_torch and facts["in_venv"]:
        # --system-site-packages of a virtual environment would skip it for its base interpreter
        target = next(venv.glob("lib/python*/site-packages"))
        (target / "_torch_of_parent.pth").write_text("\n".join(facts["paths"]) + "\n")
    return python


def interpreter_facts(python: Path) -> dict:
    """Versions of this interpreter and of the torch it imports (None where there is none)."""
    answer = subprocess.run([str(python), "-c", FACTS], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupError(f"{python}: torch is installed but broken: {last_line(answer.stderr)}")
    return json.loads(answer.stdout.splitlines()[-1])


def check_python(version: tuple) -> None:
    problem = python_problem(tuple(version))
    if problem:
        raise SetupError(problem)


def check_compiler(facts: dict) -> None:
    if find_compiler() is None:
        raise SetupError("no C++ compiler found: install g++ (Debian, Ubuntu: apt install g++)")
    if not (Path(facts["headers"]) / "Python.h").exists():
        version = "{}.{}".format(*facts["python"][:2])
        raise SetupError(f"{facts['headers']}/Python.h is missing: apt install python{version}-dev")


def note_disk_space(venv: Path) -> None:
    free = shutil.disk_usage(venv).free
    if free < ENOUGH_DISK:
        print(f"note: {free / 1e9:.1f} GB free at {venv}; the set-up needs about 6 GB")


def wants_cuda_ops(facts: dict, nvcc: str | None, arch_list: str | None) -> bool:
    """Whether mmcv is built with its CUDA ops.

    Raises:
        SetupError: a GPU is there to be used, but nothing to compile for it.
    """
    if facts["cuda"] is None:
        return False
    if facts["gpu"] and nvcc is None:
        raise SetupError(
            f"torch {facts['torch']} sees a GPU but nvcc is not found: install the CUDA toolkit "
            f"{facts['cuda']} and set CUDA_HOME, or hide the GPU with CUDA_VISIBLE_DEVICES=''"
        )
    # without a GPU to ask, nvcc must be told for which one to compile (a login node of a cluster)
    return nvcc is not None and (facts["gpu"] or bool(arch_list))


def present(step: str, facts: dict, newest: bool = False) -> bool:
    """Whether a step's result is still installed: somebody may have changed the environment."""
    installed = facts["installed"]
    if step != "packages":
        return step in installed
    python = tuple(facts["python"][:2])
    wanted = {name for file in PACKAGES for name in requirements(file, python)}
    if not wanted <= installed.keys():
        return False
    locked = {} if newest else {n: v for n, v in requirements("lock").items() if n in wanted}
    pins = {**locked, **requirements("mm")}
    return all(f"=={installed.get(name)}" == pin for name, pin in pins.items())


def requirements(name: str, python: tuple[int, ...] | None = None) -> dict[str, str]:
    """{distribution: accepted versions, such as "==1.26.4"} of a file in `requirements/`.

    Args:
        python: leaves out what a line asks for newer versions of Python than this one only, by
            `; python_version >= "3.11"`; None: nothing is left out.
    """
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    line = r'^([\w.-]+)([^\s#;]*)(?:\s*;\s*python_version\s*>=\s*"(\d+)\.(\d+)")?'
    return {
        package: versions
        for package, versions, major, minor in re.findall(line, text, re.MULTILINE)
        if python is None or not major or python >= (int(major), int(minor))
    }


def install_packages(
    python: Path, venv: Path, facts: dict, cuda_ops: bool, newest: bool = False
) -> None:
    install(python, venv, "packages", requirement_options(*PACKAGES, newest=newest))
    install(python, venv, "mm packages", ["--no-deps", *requirement_options("mm")])


def install_mmcv(python: Path, venv: Path, facts: dict, cuda_ops: bool) -> None:
    """Installs mmcv from the per-user cache of wheels, building it first where it is absent."""
    folder = wheel_cache(facts, cuda_ops)
    wheels = sorted(folder.glob(f"mmcv-{MMCV.partition('==')[2]}-{facts['tag']}-*.whl"))
    wheel = wheels[0] if wheels else build_mmcv(python, folder, cuda_ops)
    # pip compares versions only, and would keep an mmcv that was built against another torch
    install(python, venv, "mmcv", ["--no-deps", "--force-reinstall", str(wheel)])


def install_op(python: Path, venv: Path, facts: dict, cuda_ops: bool) -> None:
    # REQUIRE_NATIVE: here a compiler is known to be there, so a failed build is an error
    environment = dict(os.environ, BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE="1")
    # nvcc alone is not enough: with no GPU to ask, torch does not know what to compile for
    environment["BEVDEPTH_PLUS_OPS_CUDA"] = str(int(cuda_ops))
    options = ["--no-deps", "--no-build-isolation", "-v", str(ROOT / "ops")]
    run([*pip_install(python), *options], "op", venv / "setup.log", environment)


def install_plugin(python: Path, venv: Path, facts: dict, cuda_ops: bool) -> None:
    install(python, venv, "plugin", ["--no-deps", "--no-build-isolation", "-e", str(ROOT)])


def wheel_cache(facts: dict, cuda_ops: bool) -> Path:
    """Folder of wheels built against one torch and Python; pip's own cache knows neither."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"torch{facts['torch']}-{facts['tag']}"
    if facts["cuda"] and not cuda_ops:
        name += "-cpu-ops"
    return base / "bevdepth_plus" / "wheels" / name


def build_mmcv(python: Path, folder: Path, cuda_ops: bool) -> Path:
    """Builds the mmcv wheel beside its place in the cache and moves it there when it is whole."""
    print(f"building {MMCV} with its ops: 10 to 15 minutes on two cores, once per torch and Python")
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    environment = dict(os.environ, MMCV_WITH_OPS="1", TMPDIR=str(scratch))
    if cuda_ops:
        environment["FORCE_CUDA"] = "1"
    # --no-cache-dir, --no-binary: no wheel that was built against another torch
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-binary=mmcv", "-v"]
    command = [str(python), "-m", "pip", "wheel", MMCV, *options, "-w", str(scratch / "wheel")]
    try:
        run(command, "mmcv", folder / "build.log", environment)
        built = next((scratch / "wheel").glob("mmcv-*.whl"))
        wheel = folder / built.name
        built.replace(wheel)
        return wheel
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def requirement_options(*names: str, newest: bool = False) -> list:
    options = [part for name in names for part in ("-r", str(REQUIREMENTS / f"{name}.txt"))]
    return options if newest else [*options, "-c", str(LOCK)]


def install(python: Path, venv: Path, title: str, options: list) -> None:
    run([*pip_install(python), *options], title, venv / "setup.log", os.environ)


def pip_install(python: Path) -> list:
    return [str(python), "-m", "pip", "install"]


def run(command: list, title: str, log: Path, environment: dict) -> None:
    """Runs a step, its output in `log`, with a sign of life; a failure shows the log's end."""
    started = beat = time.monotonic()
    # the environment's own ninja, wherever make was called
    path = os.pathsep.join([str(Path(command[0]).parent), environment.get("PATH", "")])
    environment = dict(environment, PATH=path, PIP_DISABLE_PIP_VERSION_CHECK="1")
    with log.open("w") as output:
        # its own session: Ctrl-C stops the compilers with it
        child = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            while child.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - beat >= HEARTBEAT:
                    beat = time.monotonic()
                    print(f"  {title}: {elapsed(started)}{compiled(log)}")
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait()
            raise
    if child.returncode != 0:
        for line in telling_lines(log.read_text(errors="replace").splitlines()):
            print(f"  | {line}", file=sys.stderr)
        raise SetupError(f"{title} failed after {elapsed(started)}: the whole log is {log}")
    print(f"  {title}: done in {elapsed(started)}")


def telling_lines(lines: list) -> list:
    """The first errors of a log and its end: pip writes a page of its own after a compiler's."""
    errors = [line for line in lines[:-8] if re.search(r"error:|Error:|Killed", line)]
    return errors[:6] + lines[-8:]


def compiled(log: Path) -> str:
    """How far ninja has come, from the "[12/77]" it writes for each object."""
    counts = re.findall(r"^\s*\[(\d+)/(\d+)\]", log.read_text(errors="replace"), re.MULTILINE)
    return ", {} of {} objects compiled".format(*counts[-1]) if counts else ""


def elapsed(started: float) -> str:
    seconds = int(time.monotonic() - started)
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # alive in a log file too
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="made where absent")
    parser.add_argument(
        "--newest",
        action="store_true",
        help="keep what fits the ranges of requirements/, else take the newest, not the lock's",
    )
    args = parser.parse_args()
    try:
        # not resolved: bin/python of an environment is a link, and must stay one
        set_up(args.venv.absolute(), args.newest)
    except SetupError as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make setup: interrupted; run it again, it goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
