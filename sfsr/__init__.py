"""DiffSFSR (arXiv 2401.01207) in plain torch: expressions, adapter, midpoint estimate and sampler.

Much of the paper is not public. This package follows its abstract and figures; the rest is this
pack's own design and is labelled as such (``docs/sfsr.md``).
"""
