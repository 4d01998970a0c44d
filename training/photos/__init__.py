"""Trainers on photographs: data sets that ``denseface annotate`` has written, and any Stable Diffusion 1.x."""
