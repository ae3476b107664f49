"""What a config's ``custom_imports`` names: importing this registers every part of the plugin."""

import bevdepth_plus.datasets.class_balance
import bevdepth_plus.datasets.nuscenes_dataset
import bevdepth_plus.datasets.sequences.augmentation
import bevdepth_plus.datasets.sequences.dataset
import bevdepth_plus.datasets.transforms
import bevdepth_plus.engine
import bevdepth_plus.evaluation.metric
import bevdepth_plus.evaluation.pointmaps
import bevdepth_plus.evaluation.sequence_depth
import bevdepth_plus.losses
import bevdepth_plus.models
import bevdepth_plus.pointmaps.prior
import bevdepth_plus.pointmaps.training
import bevdepth_plus.triangulation.criterion
import bevdepth_plus.triangulation.model
import bevdepth_plus.triangulation.prior  # noqa: F401
