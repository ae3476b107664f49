"""Depth from motion without a cost volume: points, epipolar matches, triangulation, densification.

Files
    encoder            a ResNet that gives all its levels
    keypoints          interest points and descriptors of an image
    correlation        descriptors at places, and how alike they are
    epipolar_matching  where other views see a point
    densify            from depth at points to depth everywhere; up_projection: its blocks
    network            all of it together; criterion: its losses; model: trained by the tools
    prior              the same in the detector; static_check: without what moves
    deltas_compat      what the public DELTAS code does differently, for its numbers and weights
    checkpoints        official DELTAS weights -> ours
    parity             against recorded results of the public code

Rights: DELTAS's code and weights are for non-commercial research only, and its method is claimed in
the US patent application 2021/0279904 A1. Everything here is written from the paper's description
and from recorded numbers; official weights are optional and the user's own responsibility.
"""
