"""Photographs at the base's own size: this person, this expression, this scene.

On a Stable Diffusion 1.5 checkpoint of the user, with published adapters or those of this pack.
"""
