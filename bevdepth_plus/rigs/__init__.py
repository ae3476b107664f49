"""A vehicle's cameras: where each is mounted, how it sees, and its images.

The files of this floor import numpy, PyYAML, OpenCV and Pillow alone, so that they work where no
torch and no mm* library is installed. The synthetic generator, the data pipeline, the checks and
the vehicle use the same files: whatever touches calibration or pixels exists once.

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
    nuscenes_tables        nuScenes' tables, read without the devkit
    yaml_fields            fields of a YAML file, or an error that names them
"""
