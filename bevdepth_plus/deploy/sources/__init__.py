"""Where images and poses come from, moment by moment.

drives            Drive and Moment: what every source returns
image_files       files of a rig's patterns, or of a folder
videos            one video a camera
nuscenes_scenes   a scene of a nuScenes-format data set
pose_files        ego poses in a CSV or JSON file
"""
