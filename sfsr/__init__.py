"""DiffSFSR (arXiv 2401.01207), host-free: expression codes, midpoint estimate and sampler.

Much of the paper is not public. What its abstract and figures say is followed; the rest is this
pack's own reading and is labelled so where it stands (``docs/sfsr.md``).
"""
