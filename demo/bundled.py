"""The bundled weights: their folder and file names.

Imports nothing heavy, because nodes need these paths while the host starts.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
BASE_FILE = "tiny_base.safetensors"
ANALYZER_FILE = "tiny_analyzer.safetensors"
EVALUATOR_FILE = "tiny_evaluator.safetensors"
DENSE_FACE_FILE = "tiny_dense_face.safetensors"
ANNOTATION_FILE = "tiny_annotation.safetensors"
SFSR_FILE = "tiny_sfsr.safetensors"
