"""ROS 2 message definitions of ``autoware_perception_msgs/msg/DetectedObjects`` and its parts.

Source: autowarefoundation/autoware_msgs (Apache-2.0), autoware_perception_msgs/msg/*.msg, without
their comments; ROS 2 common_interfaces for the others. The order of fields is the order of bytes.
"""

from __future__ import annotations

DETECTED_OBJECTS = "autoware_perception_msgs/msg/DetectedObjects"

# ObjectClassification
LABELS = {
    "UNKNOWN": 0,
    "CAR": 1,
    "TRUCK": 2,
    "BUS": 3,
    "TRAILER": 4,
    "MOTORCYCLE": 5,
    "BICYCLE": 6,
    "PEDESTRIAN": 7,
    "ANIMAL": 8,
    "HAZARD": 9,
    "OVER_DRIVABLE": 10,
    "UNDER_DRIVABLE": 11,
}

# DetectedObjectKinematics
SIGN_UNKNOWN = 1
AVAILABLE = 2

BOUNDING_BOX = 0  # Shape

_PARTS = {
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "autoware_perception_msgs/DetectedObject": (
        "float32 existence_probability\n"
        "autoware_perception_msgs/ObjectClassification[] classification\n"
        "autoware_perception_msgs/DetectedObjectKinematics kinematics\n"
        "autoware_perception_msgs/Shape shape"
    ),
    "autoware_perception_msgs/ObjectClassification": "\n".join(
        [
            *(f"uint8 {name} = {value}" for name, value in LABELS.items()),
            "uint8 label",
            "float32 probability",
        ]
    ),
    "autoware_perception_msgs/DetectedObjectKinematics": (
        "uint8 UNAVAILABLE=0\n"
        "uint8 SIGN_UNKNOWN=1\n"
        "uint8 AVAILABLE=2\n"
        "geometry_msgs/PoseWithCovariance pose_with_covariance\n"
        "bool has_position_covariance\n"
        "uint8 orientation_availability\n"
        "geometry_msgs/TwistWithCovariance twist_with_covariance\n"
        "bool has_twist\n"
        "bool has_twist_covariance"
    ),
    "autoware_perception_msgs/Shape": (
        "uint8 BOUNDING_BOX=0\n"
        "uint8 CYLINDER=1\n"
        "uint8 POLYGON=2\n"
        "uint8 type\n"
        "geometry_msgs/Polygon footprint\n"
        "geometry_msgs/Vector3 dimensions"
    ),
    "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Quaternion": "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1",
    "geometry_msgs/TwistWithCovariance": "geometry_msgs/Twist twist\nfloat64[36] covariance",
    "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Polygon": "geometry_msgs/Point32[] points",
    "geometry_msgs/Point32": "float32 x\nfloat32 y\nfloat32 z",
}

# As MCAP's ros2msg schemas: the message, then each part behind a line of 80 equal signs.
DEFINITION = "\n".join(
    [
        "std_msgs/Header header",
        "autoware_perception_msgs/DetectedObject[] objects",
        *(f"{'=' * 80}\nMSG: {name}\n{text}" for name, text in _PARTS.items()),
    ]
)
