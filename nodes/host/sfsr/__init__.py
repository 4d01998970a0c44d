"""SFSR on the host's MODEL: sources, scene, guidance and the midpoint sampler."""
