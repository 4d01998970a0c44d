"""Bounds on what a file may cost, in one place: at least ten times the largest legitimate file.

Readers check them before they take memory or time, so that a small hostile file stays small. The
comments name the largest file known. ``SECURITY.md`` lists them.
"""

from __future__ import annotations

INDEX_BYTES = 32 * 2**20
"""Pickled index of a PyTorch file. The release's checkpoint: 0.5 MB."""
INDEX_STEPS = 4_000_000
"""Instructions of that pickle. The release's checkpoint: 0.1 million."""
TREE_NODES = 1_000_000
"""Dicts, lists and values of a PyTorch file's content, shared ones counted each time."""
TREE_DEPTH = 64
"""Nesting of that content. Training states: 5."""
TENSORS = 50_000
"""Tensors of a file of weights. SDXL: 2,515; the release with its EMA: 2,900."""
COPIES = 4
"""Bytes of all tensors together, as a multiple of the file: tied weights are few."""
HEADER_BYTES = 100_000_000
"""JSON header of a safetensors file: the limit of the ``safetensors`` library."""
JSON_BYTES = 16 * 2**20
"""JSON in a data set or an image. Attributes of a face: 30 KB."""
TEXT_BYTES = 4 * 2**20
"""Texts such as captions, lists of prompts and FLAME numbers: 10 KB."""
CONFIG_BYTES = 2**16
"""``extra_model_paths.yaml``: 2 KB."""

WEIGHT = 1e6
"""Magnitude of a number in a matrix or kernel. The published adapters: below 100."""
STATISTIC = 1e12
"""Magnitude of a number in a vector; running variances are large. The release: 1e6."""
LAYERS = 4096
"""Layers that the metadata of an adapter name. SDXL: 70."""
HEAD_STAGES = 32
"""Stages of an annotation head: 4."""
HEAD_WIDTH = 32_768
"""Channels of an annotation head: 1,280."""
HEAD_SCALE = 32
"""Cells of its maps per latent cell along a side: 2."""

TASK_BYTES = 64 * 2**20
"""A landmarker file, and each part of it once unpacked: 3.8 MB."""
GEOMETRY_BYTES = 2**20
"""Its geometry: 30 KB."""

IMAGE_SIDE = 8192
"""Pixels of a side of an image."""
RECORD_BYTES = 128 * 2**20
"""A file of a data set's record; an image of 4096 px as PNG: 30 MB, an xyz map: 0.8 MB."""
RECORD_FILES = 256
"""Files of a record in a shard: 10."""
TABLE_BYTES = 2**20
"""A table of landmarks: 15 KB."""
VECTOR_BYTES = 2**20
"""A file with one face vector: 3 KB."""
NAME_LETTERS = 255
"""Letters of a file's name: what file systems store."""
NETWORK_WIDTH = 500_000
"""Sizes that the metadata of a base name. CLIP's vocabulary: 49,408."""
NETWORK_DEPTH = 256
"""Layers, blocks and heads that they name. CLIP: 12."""
