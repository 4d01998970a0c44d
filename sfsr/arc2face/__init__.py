"""Arc2Face on Stable Diffusion 1.5: the identity as a prompt, the expression as FLAME's numbers.

Its expression adapter is read with all other published adapters, by ``sfsr.ip_adapter``.
Source: docs/reference/published_weights.md A.
"""
