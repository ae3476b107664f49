"""bevdepth_plus in ROS 2: ``node`` needs rclpy, everything else is plain Python."""
