"""Two key frames; evaluated and saved are weights averaged over training (EMA, decay 0.999)."""

_base_ = ["bevdepth_r50_256x704_24e_2key.py"]

custom_hooks = [
    *_base_.custom_hooks,
    # momentum is the new weights' share; BatchNorm's statistics are averaged as in the public code.
    dict(type="EMAHook", momentum=0.001, update_buffers=True),
]
