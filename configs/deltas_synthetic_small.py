"""Depth from motion on synthetic driving video, small enough for a CPU."""

_base_ = [
    "_base_/sequence_loaders.py",
    "_base_/schedule_cpu.py",
    "_base_/default_runtime.py",
]

data_root = "data/synthetic_video"
final_dim = (96, 256)

model = dict(
    type="DepthFromMotion",
    network=dict(
        depth_range=(2.0, 60.0),
        encoder=dict(depth=18, base_channels=16),
        # Small images need fine descriptors; patches match before anything is learnt.
        interest_points=dict(channels=16, hidden_channels=32, descriptor_stride=2),
        matcher=dict(
            samples=48,
            across=(0.0,),
            min_length=2.0,
            temperature=0.05,
            threshold=0.7,
            patch_radius=3,
        ),
        densifier=dict(
            sparse_encoder=dict(depth=18, base_channels=8),
            channels=(64, 48, 24, 12, 8),
            aspp_channels=16,
        ),
        correction=dict(),
        points_into_densifier=False,
        num_points=512,
    ),
    # Metres of a street are all about what is far; pixels of a match are few here.
    criterion=dict(
        type="TriangulationCriterion",
        match=0.05,
        likelihood=0.5,
        match_sigma=0.5,
        point=1.0,
        smoothness=0.1,
        depth=dict(log=True),
    ),
)

source = dict(layout="nuscenes", root=data_root)
sequences = dict(final_dim=final_dim, num_views=3, gap=1)
train_source = dict(**source, ann_file="bevdepth_plus_infos_train.pkl")
val_source = dict(**source, ann_file="bevdepth_plus_infos_val.pkl")
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    pin_memory=False,
    # Depth of the sources tells which points are hidden there or have moved.
    dataset=dict(**sequences, source_depth=True, sources=[train_source]),
)
val_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(**sequences, sources=[val_source]))
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
