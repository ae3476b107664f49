"""In the vehicle: a trained model on the images of any rig (``bevdepth_plus.rigs``).

Running exported files needs numpy, PyYAML, OpenCV and Pillow, and a runtime; no torch, no mm*.

    inferencer             from images and a rig to boxes; start here
    streaming              the same for images and poses that come one by one
    frames, ego_motion     which images belong together, and where the vehicle was
    network_images         from a camera's image to the network's pixels
    features, results      what the parts hand to each other, and what comes out
    description            model.json: what a model is
    geometry               from calibration to BEV cells, in the op's bits
    gather_index           index arrays of the pooling without scatter
    decoding               from the heads' maps to boxes
    recordings             files that viewers open
    sources                images and poses of files, videos and nuScenes-format scenes
    drawing                a page of one moment with OpenCV alone
    infer                  the command line of tools/infer.py, and its outputs and summary
    backends               what runs the network; torch.py and look_around.py need torch and mmdet3d

Exporting is done where models are trained: describe, parts, export, cutting, translations, samples
and verify import torch, mmdet3d and onnx.
"""
