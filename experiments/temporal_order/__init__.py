"""Does the order of depths over time teach depth where there is little LiDAR?"""
