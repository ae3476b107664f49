"""Geometry: pure functions of tensors. No mm* import, no registry, no state.

This page holds the conventions of the whole project; every other file calls what is here.

Units
    Metres, radians, seconds, pixels.

Frames
    - camera: x right, y down, z forward (the optical axis). Depth is along z, not along the ray.
    - ego: x forward, y left, z up, origin on the ground under the rear axle. The ego frame of the
      *key frame* is the frame of BEV maps and of all boxes inside the model.
    - LiDAR: the sensor's own; boxes of info files lie in it. They are converted once on the way in
      and once on the way out.
    - ``a_T_b`` maps points of frame ``b`` to frame ``a``: ``ego_T_cam @ point_in_camera``.

Pixels
    (u, v) is (column, row). Pixel centres lie at integers + 0.5, so an image of width W covers
    u from 0 to W, and resizing by s multiplies u by s. Functions that reproduce a public code's
    numbers take another centre as an argument (``pixel_centre=0.0``).
    - as loaded: the pixels of the image file; ``intrinsics`` are theirs.
    - network pixels: after image augmentation; ``cameras.network_intrinsics`` are theirs, and
      ``image_aug`` maps the pixels as loaded to them.

Augmentation
    Image augmentation never moves boxes: its matrix is undone in geometry. BEV augmentation moves
    the ego frame and the boxes together.

Boxes
    As mmdet3d 1.x: centre, (length, width, height), yaw counter-clockwise about z from +x, then
    velocity (vx, vy). Names say which centre is meant: gravity or bottom.

Unknown
    Invalid depth is 0 and always masked. BEV cells outside the grid are -1. An unknown velocity is
    NaN until the loss masks it.

Letters of the shapes
    B batch, S moments (0 = key frame, growing into the past), N cameras, D depth bins, C channels,
    H and W image rows and columns, Y and X BEV rows and columns, P points, M boxes.

Files
    cameras        a batch's cameras: one moment (``Cameras``), several (``CameraRig``)
    pinhole        project, unproject, rays: the only projection
    z_buffer       the only z-buffer: points to a depth map, depth maps to coarser cells
    depth_maps     points and normals of a depth map
    warping        a map sampled at the pixels that correspond to another frame's pixels
    flow           rigid flow, and which correspondences to trust
    epipolar       where a pixel can lie in another image, and samples along that segment
    triangulation  inverse depth with variance from several views; points by SVD
    rigid          transforms and their inverses
    boxes          corners, moving between frames, points inside
    grid_axes      the numbers of the bird's-eye grid, without torch
    bev_grid       the cells of the bird's-eye view
    depth_bins     the depth axis of the frustum
    canonical      depth scaled to one fixed focal length
    ground         pixels per metre of road
"""
