"""YuNet and SFace of OpenCV's model zoo, run by OpenCV's own classes."""
