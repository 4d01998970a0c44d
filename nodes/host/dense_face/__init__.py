"""Dense-Face on the host's MODEL: adapter, pose control, blending, annotations."""
