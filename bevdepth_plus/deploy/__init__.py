"""In the vehicle: rigs, their images, and what else runs without the training stack.

The files of this floor import numpy, PyYAML, OpenCV and Pillow alone, so that they work where no
torch and no mm* library is installed. The synthetic generator, the data pipeline and the checks use
the same files: whatever touches calibration or pixels exists once.

    rig                    Rig and RigCamera
    rig_file               the rig file: read, write
    rig_checks             is a rig plausible?
    rig_picture            a rig from above, and its horizons
    poses                  angles, quaternions and 4x4 matrices
    distortion             lens distortion, undone by remapping
    camera_images          a camera's raw image as its pinhole model describes it
    image_files            image files: whole or named; decoding
    images                 an image from any source to pixels, the exact and the fast way
    image_crop             resize, crop, flip, rotate: the network's pixels
    crop_rule, horizon     which part of an image the network gets
    ros_calibration        camera_info files to a rig and back
    static_transforms      ROS' static transforms
    nuscenes_calibration   calibrated_sensor.json and info files to a rig and back
    yaml_fields            fields of a YAML file, or an error that names them

    inferencer             from images and a rig to boxes; start here
    streaming              the same for images and poses that come one by one
    frames, ego_motion     which images belong together, and where the vehicle was
    network_images         from a camera's image to the network's pixels
    features, results      what the parts hand to each other, and what comes out
    description            model.json: what a model is
    geometry               from calibration to BEV cells, in the op's bits
    gather_index           index arrays of the pooling without scatter
    decoding               from the heads' maps to boxes
    backends               what runs the network; torch.py alone needs torch and mmdet3d

Exporting is done where models are trained: describe, parts, export, cutting, translations, samples
and verify import torch, mmdet3d and onnx.
"""
