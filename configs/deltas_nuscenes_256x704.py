"""Depth from motion on nuScenes: each camera over time at 12 Hz, taught by the key frames' LiDAR.

The info files must have the images between the key frames: tools/create_data.py --sweeps.
"""

_base_ = ["_base_/deltas.py"]

data_root = "data/nuscenes"

model = dict(
    network=dict(depth_range=(2.0, 60.0), matcher=dict(min_length=2.0)),
    # Metres of a street are all about what is far.
    criterion=dict(depth=dict(log=True)),
)

nuscenes = dict(layout="nuscenes", root=data_root)
sequences = dict(final_dim=(256, 704), num_views=3, gap=4)
train_source = dict(**nuscenes, ann_file="bevdepth_plus_infos_train.pkl")
val_source = dict(**nuscenes, ann_file="bevdepth_plus_infos_val.pkl")
train_dataloader = dict(dataset=dict(**sequences, sources=[train_source]))
val_dataloader = dict(dataset=dict(**sequences, sources=[val_source], anchor_step=4))
test_dataloader = val_dataloader
