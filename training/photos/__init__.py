"""Trainers on photographs, for any Stable Diffusion 1.x model.

Their data sets are written by ``denseface annotate``.
"""
