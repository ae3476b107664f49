"""Two-view pointmaps: depth, confidence, matches and calibration from images alone.

A pointmap gives each pixel of an image a 3D point; a two-view network gives those of two images in
the frame of the first. From many pairs follow focal lengths, camera poses and depth maps, without
LiDAR. The method is that of DUSt3R (CVPR 2024), MASt3R (ECCV 2024) and MASt3R-SfM (3DV 2025);
everything here is written from their descriptions.

The public code of these papers and its checkpoints are licensed CC BY-NC-SA 4.0 (no commercial
use), the checkpoints also under the terms of their training sets. They are not needed, and whoever
converts them (``tools/convert_pointmap_checkpoint.py``) is responsible for keeping to the terms.

Letters of the shapes
    B pairs, T tokens of an image, K heads, C channels, H and W image rows and columns, P points or
    matches, V views, h and w anchor rows and columns.

Masks
    True is valid. What a mask leaves out never enters an average, a match or a loss; it stays in
    the result as 0 with a validity map beside it.

Files
    rope, blocks, encoder, decoder, dpt, heads, two_view     the network
    checkpoints             official weights -> ours
    pair_targets, training  what pairs with depth teach; the network for tools/train.py
    images                  an image and its mask as the network wants them
    matching                reciprocal nearest neighbours of descriptors
    canonical_views, focal  one pointmap, depth relative to anchors and focal length of an image
    pair_graphs             which images to pair, and the tree that chains them
    alignment_problem, scene_parameters, global_alignment    cameras and depth of all images
    metric_scale            metres from ego motion
    reconstruction, pair_cache, known_cameras, exports       the whole way, for tools/reconstruct.py
    metric_depth            metres from one pair with known cameras
    drives, depth_labels, depth_pictures    labels of a data set, for tools/make_depth_labels.py
    prior                   all this inside the detector
    parity                  all of it beside recorded results of the public code
"""
