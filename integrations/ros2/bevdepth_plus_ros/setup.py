"""The ament_python package; bevdepth_plus itself is installed with pip."""

from setuptools import setup

NAME = "bevdepth_plus_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/detector.launch.py"]),
        (f"share/{NAME}/config", ["config/detector.yaml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": [f"detector = {NAME}.node:main"]},
)
