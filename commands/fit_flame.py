"""``denseface fit-flame``: a map from blendshapes to FLAME's numbers, from the user's photos."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .checks import require_present, require_safetensors
from .faces import add_landmarker, landmarker_path
from .real.smirk import add_smirk, with_smirk

if TYPE_CHECKING:
    from ..faces.analyzers import FaceAnalyzer
    from ..training.photos.flame_faces import FlameFaces
    from ..training.photos.flame_map import Fit

DESCRIPTION = """\
Fit a map from blendshapes to FLAME's numbers, so that words and sliders reach Arc2Face's expression
adapter (docs/sfsr.md).

The landmarker and SMIRK both read the expression in each photo, as it is and mirrored; a linear map
predicts the one from the other. Its error is measured on a fifth of the people, who are held out.
Give a few thousand photos of faces with many expressions, a subfolder for each person.
"""
_MOST_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--pictures", type=Path, required=True, metavar="DIR", help="folder of photos"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/flame_map.safetensors"),
        metavar="FILE",
        help="file to write; ComfyUI looks for it in models/sfsr",
    )
    add_landmarker(parser)
    add_smirk(parser, required=True)
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="keep what was measured in this file; a stopped run continues where it was",
    )


def run(args: argparse.Namespace) -> None:
    """Write the map and print its errors."""
    from ..errors import InputError
    from ..sfsr.arc2face.flame_map import save_flame_map
    from ..storage import atomic_path, file_sha256
    from ..training.photos.flame_faces import read_flame_faces
    from ..training.photos.flame_map import fit_flame_map

    task_file = landmarker_path(args)
    if task_file is None:
        raise InputError(
            "no face landmarker file was given",
            fix="Give MediaPipe's face_landmarker .task file with --landmarker",
        )

    def analyzer() -> FaceAnalyzer:
        from ..faces.mediapipe.landmarker import Landmarker

        return with_smirk(args, Landmarker(task_file))

    require_safetensors("--out", args.out)
    require_present(args, "pictures")
    with atomic_path(args.out) as temporary:  # first, so that a wrong path fails at once
        files = (file_sha256(args.smirk)[:16], file_sha256(task_file)[:16])
        settings = f"fit-flame {args.smirk_order} {' '.join(files)}"
        faces = read_flame_faces(args.pictures, analyzer, settings, args.resume)
        fit = fit_flame_map(faces.blendshapes, faces.flame, faces.people)
        about = _about(fit, faces, args.smirk_order)
        save_flame_map(temporary, replace(fit.flame_map, about=about))
    for line in faces.skipped[:_MOST_SHOWN]:
        print(f"skipped: {line}", file=sys.stderr)
    if len(faces.skipped) > _MOST_SHOWN:
        print(f"skipped: {len(faces.skipped) - _MOST_SHOWN} more", file=sys.stderr)
    _print(fit, faces)
    print(args.out)


def _about(fit: Fit, faces: FlameFaces, order: str) -> dict[str, str]:
    """What the file says about itself."""
    return {
        "images": str(faces.images),
        "faces": str(len(faces.people)),
        "people": str(len(set(faces.people))),
        "channel_order": order,
        "penalty": f"{fit.penalty:.3g}",
        "held_out": str(fit.held_out),
        "r2_expression": f"{fit.r2_expression:.4f}",
        "r2_jaw": f"{fit.r2_jaw:.4f}",
        "error_expression": f"{fit.error_expression:.4f}",
        "error_jaw_degrees": f"{fit.error_jaw:.4f}",
        "without_effect": ", ".join(fit.still),
    }


def _print(fit: Fit, faces: FlameFaces) -> None:
    people = len(set(faces.people))
    print(f"{faces.images} photos of {people} people, each mirrored, too")
    print(
        f"held out ({fit.held_out} faces): expression R2 {fit.r2_expression:.3f}, mean error "
        f"{fit.error_expression:.3f} standard deviations; jaw R2 {fit.r2_jaw:.3f}, mean error "
        f"{fit.error_jaw:.2f} degrees"
    )
    if fit.still:
        print(f"without effect, because they hardly vary here: {', '.join(fit.still)}")
