"""SDXL on diffusers: its checkpoints, its two text encoders and its added conditions."""
