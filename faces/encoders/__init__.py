"""Identity encoders and the head-pose network, with the files that they are read from."""
