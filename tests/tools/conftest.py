"""A training that takes seconds, on synthetic scenes, through the real tools."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bevdepth_plus.datasets.create_infos import create_info_files

REPO = Path(__file__).resolve().parents[2]
STREAMS = ("stdout", "stderr")

TINY = """
_base_ = [
    "{repo}/configs/_base_/bevdepth_r50.py",
    "{repo}/configs/_base_/nuscenes.py",
    "{repo}/configs/_base_/default_runtime.py",
]
data_root = "{root}/"
image_size = (64, 96)
model = dict(
    grid=dict(x=(-51.2, 51.2, 3.2), y=(-51.2, 51.2, 3.2)),
    depth_bins=dict(step=4.0),
    image_size=image_size,
    image_encoder=dict(
        backbone=dict(depth=18, base_channels=8, init_cfg=None), neck=dict(out_channels=[8] * 4)
    ),
    depth=dict(depth_net=dict(mid_channels=16, context_channels=8)),
    temporal=dict(encoder=dict(backbone=dict(base_channels=8), neck=dict(out_channels=[8] * 4))),
    heads=dict(boxes=dict(share_conv_channel=16)),
)
images = dict(augment_images=dict(final_dim=image_size))
loader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **loader,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(data_root=data_root, pipeline=images),
)
val_dataloader = dict(**loader, dataset=dict(data_root=data_root, pipeline=images))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=False, max_iters=4, val_interval=100)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=5)
)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2)
)
log_processor = dict(by_epoch=False)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests here that start processes are slow: each imports mmdet3d or trains."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "run_processes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tiny_config(synthetic_root, tmp_path_factory) -> Path:
    """A config file over the synthetic scenes; its info files lie beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    create_info_files(synthetic_root, "v1.0-mini", folder)
    for name in ("samples", "maps"):
        (folder / name).symlink_to(Path(synthetic_root) / name)
    config = folder / "tiny.py"
    config.write_text(TINY.format(repo=REPO, root=folder))
    return config


@pytest.fixture(scope="session")
def run_processes(tmp_path_factory):
    """``run_processes([(argv, env), ...], timeout)``: Python scripts at the same time.

    Each is a process of its own; they share the import of the plugin, see ``prefork.py``.
    """
    folder = tmp_path_factory.mktemp("processes")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("prefork.py"))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    numbers = itertools.count()

    def run(commands: list[tuple[list, dict]], timeout: float) -> list[subprocess.CompletedProcess]:
        processes = [
            dict(
                argv=[str(part) for part in argv],
                env=env,
                stdout=str(folder / f"{number}.out"),
                stderr=str(folder / f"{number}.err"),
            )
            for (argv, env), number in zip(commands, numbers, strict=False)
        ]
        server.stdin.write(json.dumps(dict(processes=processes, timeout=timeout)) + "\n")
        server.stdin.flush()
        statuses = json.loads(server.stdout.readline())
        return [
            subprocess.CompletedProcess(
                process["argv"], status, *(Path(process[s]).read_text() for s in STREAMS)
            )
            for process, status in zip(processes, statuses, strict=True)
        ]

    yield run
    server.stdin.close()
    server.wait(timeout=60)  # a busy machine takes a while to end it


@pytest.fixture(scope="session")
def run_tool(run_processes):
    """``run_tool("train.py", ...)``: one tool in its own process, one thread."""

    def run(
        tool: str, *args: object, timeout: float = 240, env: dict | None = None
    ) -> subprocess.CompletedProcess:
        command = [str(REPO / "tools" / tool), *map(str, args)]
        if tool.endswith(".py"):
            return run_processes([(command, env or {})], timeout)[0]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **(env or {})},
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def run_two_ranks(run_processes):
    """``run_two_ranks("train.py", ...)``: two processes of one group, nobody watching over them."""

    def run(tool: str, *args: object, timeout: float = 240, **env: str) -> list:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        group = dict(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), **env)
        command = [REPO / "tools" / tool, *args, "--launcher", "pytorch"]
        ranks = [dict(group, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
        return run_processes([(command, rank) for rank in ranks], timeout)

    return run


@pytest.fixture(scope="session")
def trained(tiny_config, run_tool, tmp_path_factory) -> Path:
    """The work dir of a finished training of four steps."""
    work_dir = tmp_path_factory.mktemp("trained")
    result = run_tool("train.py", tiny_config, "--work-dir", work_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir


@pytest.fixture(scope="session")
def random_checkpoint(tiny_config, tmp_path_factory) -> Path:
    """Weights of the tiny config that nobody trained; scores are high enough for boxes."""
    import torch
    from mmdet3d.registry import MODELS
    from mmdet3d.utils import register_all_modules
    from mmengine.registry import init_default_scope

    import bevdepth_plus.plugin  # noqa: F401
    from bevdepth_plus.engine.launch import load_config

    register_all_modules()
    init_default_scope("mmdet3d")
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(tiny_config), None, None).model)
    path = tmp_path_factory.mktemp("random") / "random.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def exported_model(tiny_config, random_checkpoint, run_tool, tmp_path_factory) -> Path:
    """The tiny model as exported parts."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("exported") / "model"
    answer = run_tool(
        "export_onnx.py", tiny_config, random_checkpoint, folder, "--form", "parts",
        "--verify", "0", timeout=900,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    return folder
