"""In the vehicle: rigs, their images, and what else runs without the training stack.

The files of this floor import numpy, PyYAML, OpenCV and Pillow alone, so that they work where no
torch and no mm* library is installed. The synthetic generator, the data pipeline and the checks use
the same files: whatever touches calibration or pixels exists once.

    rig                    Rig and RigCamera
    rig_file               the rig file: read, write
    poses                  angles, quaternions and 4x4 matrices
    distortion             lens distortion, undone by remapping
    camera_images          a camera's raw image as its pinhole model describes it
    images                 decoding, and the crop that the network gets
    rig_checks             is a rig plausible?
    rig_picture            a rig from above, and its horizons
    ros_calibration        camera_info and static transforms
    nuscenes_calibration   calibrated_sensor.json and info files
    inferencer             from images and a rig to boxes; start here
    streaming              the same for images and poses that come one by one
    description            model.json: what a model is
    geometry               from calibration to BEV cells, in the op's bits
    decoding               from the heads' maps to boxes
    backends               what runs the network; torch.py alone needs torch and mmdet3d

Exporting is done where models are trained: parts, export, cutting, translations, describe, samples
and verify import torch or onnx.
"""
