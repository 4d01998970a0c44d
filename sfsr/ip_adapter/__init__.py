"""Published adapters: IP-Adapter-FaceID and its kin (Stable Diffusion 1.5, SDXL), FineFace and
Arc2Face's expression adapter.

Identity (``identity_adapter``) and expression (``fineface``, ``arc2face``) come from different
files and act side by side in decoupled cross-attention. ``load`` reads a file and recognises it
by its shapes.
Sources: docs/reference/published_weights.md A6, C2, C4, D7, F, G.
"""
