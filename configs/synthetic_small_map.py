"""The demo's detector that also draws the map: drivable area and lane marks beside the boxes."""

_base_ = ["synthetic_small.py"]

layers = dict(drivable_area="area", lane_marks="line")
model = dict(
    heads=dict(
        map=dict(
            type="BEVSegmentationHead",
            layers=list(layers),
            # Lane marks fill few cells.
            loss=dict(type="BEVSegmentationLoss", positive_weight=[1.0, 3.0]),
        ),
    ),
)
load_map = dict(
    pipeline=dict(load_map=dict(type="LoadMapLayers", grid=_base_.model.grid, layers=layers))
)
train_dataloader = dict(dataset=load_map)
val_dataloader = dict(dataset=load_map)
test_dataloader = val_dataloader
