"""Depth from motion on ScanNet. Images are 256 pixels high, not DELTAS's 240: a multiple of 32."""

_base_ = ["_base_/deltas.py"]

data_root = "data/scannet"

model = dict(network=dict(depth_range=(0.5, 10.0)))

scannet = dict(layout="scannet")
sequences = dict(final_dim=(256, 320), num_views=3, gap=20)
train_dataloader = dict(
    dataset=dict(
        **sequences, source_depth=True, sources=[dict(**scannet, root=f"{data_root}/scans")]
    )
)
val_dataloader = dict(
    dataset=dict(
        **sequences, sources=[dict(**scannet, root=f"{data_root}/scans_test")], anchor_step=10
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(
    depth_ranges=((0, 1), (1, 2), (2, 3), (3, 5), (5, 10)),
    baselines=((0, 0.02), (0.02, 0.1), (0.1, 0.3), (0.3, 1), (1, 5)),
)
test_evaluator = val_evaluator
