"""The experiment on depth from motion: its variants, and a vehicle that stands."""

from __future__ import annotations

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules

import bevdepth_plus.plugin  # noqa: F401
import experiments.triangulation.monocular  # noqa: F401
from experiments.runner.variants import training_config
from experiments.triangulation import prior
from experiments.triangulation.run import variants
from experiments.triangulation.standing import StandStill

SIZE = (96, 256)


def sample() -> dict:
    draw = torch.Generator().manual_seed(0)
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[:, 2, 3] = torch.tensor([2.0, -2.0])
    matrix = torch.tensor([[200.0, 0, 128], [0, 200, 48], [0, 0, 1]])
    return {
        "images": torch.randint(0, 255, (3, 3, *SIZE), generator=draw, dtype=torch.uint8),
        "intrinsics": matrix.expand(3, 3, 3) + torch.tensor([0.0, 1.0, 2.0])[:, None, None],
        "depth": torch.full(SIZE, 8.0),
        "anchor_T_source": poses,
        "token": "a",
    }


def vars_of(loss: torch.nn.Module) -> dict:
    return {name: getattr(loss, name) for name in ("first_weight", "decay", "log")}


def test_a_vehicle_that_stands_sees_the_anchor_again():
    np.random.seed(0)
    moving = sample()
    still = StandStill(noise=2.0)(moving)
    assert torch.equal(still["anchor_T_source"], torch.eye(4).repeat(2, 1, 1))
    assert torch.equal(still["intrinsics"][2], moving["intrinsics"][0])
    difference = still["images"][1].float() - moving["images"][0].float()
    assert 1 < difference.std() < 3 and torch.equal(still["images"][0], moving["images"][0])
    assert StandStill(prob=0.0)(moving) is moving


def test_both_networks_have_the_same_encoder_and_decoder_and_losses_of_depth():
    register_all_modules()
    motion, monocular = (training_config(v, seed=0, steps=2)["model"] for v in variants())
    torch.manual_seed(0)
    motion, monocular = MODELS.build(motion), MODELS.build(monocular)
    theirs = dict(motion.network.interest_points.encoder.named_parameters(prefix="encoder"))
    theirs |= dict(motion.network.densifier.named_parameters(prefix="densifier"))
    own = {name: parameter.shape for name, parameter in monocular.named_parameters()}
    assert own == {name: parameter.shape for name, parameter in theirs.items()}
    assert vars_of(monocular.depth_loss) == vars_of(motion.criterion.depth)
    assert monocular.smoothness_loss.loss_weight == motion.criterion.smoothness.loss_weight


def test_the_one_image_network_learns_and_answers():
    register_all_modules()
    model = MODELS.build(training_config(variants()[1], seed=0, steps=2)["model"])
    batch = torch.utils.data.default_collate([sample(), sample()])
    losses = model(**model.data_preprocessor(batch), mode="loss")
    assert all(loss.isfinite() for loss in losses.values())
    with torch.no_grad():
        first, _ = model.eval().test_step(batch)
    assert first["pred_depths"]["dense"].shape == SIZE and first["baseline"] == 2.0


def test_the_detectors_differ_by_the_prior_alone():
    without, with_prior = (training_config(v, seed=0, steps=2) for v in prior.VARIANTS)
    assert with_prior["model"]["depth"].pop("priors") == {"motion": prior.PRIOR}
    pipeline = with_prior["train_dataloader"]["dataset"]["pipeline"]
    assert pipeline.pop("mark_moving") == {"type": "MovingObjectPixels"}
    assert without["model"]["depth"].pop("priors", None) is None
    assert with_prior == without
