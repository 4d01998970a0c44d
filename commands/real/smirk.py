"""Options of FLAME expressions: SMIRK's file, numbers or a photo, and a map from blendshapes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...faces.analyzers import FaceAnalyzer
    from ...sfsr.expression import Expression


def add_smirk(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """Arguments that name SMIRK's file, for :func:`with_smirk`."""
    parser.add_argument(
        "--smirk",
        type=Path,
        metavar="FILE",
        required=required,
        help="SMIRK_em1.pt: measures FLAME's numbers of a photo (pip install timm)",
    )
    parser.add_argument(
        "--smirk-order",
        choices=("RGB", "BGR"),
        default="RGB",
        help="channel order for SMIRK; RGB by default, as in its own demo; Arc2Face's has BGR",
    )


def add_flame(parser: argparse._ActionsContainer) -> None:
    """The argument of a FLAME expression, for :func:`read_flame`."""
    parser.add_argument(
        "--flame",
        type=Path,
        metavar="FILE",
        help="for Arc2Face's expression adapter: a text of 55 FLAME numbers in SMIRK's order, a "
        "file of Save Expression, or with --smirk a photo",
    )


def with_smirk(args: argparse.Namespace, finder: FaceAnalyzer) -> FaceAnalyzer:
    """The analyzer, with SMIRK where its file is given.

    Raises:
        ModelFileError: The file is missing, damaged, or holds something else.
        FacePackError: timm is not installed.
    """
    if getattr(args, "smirk", None) is None:
        return finder
    from ...faces.encoders.smirk import SmirkAnalyzer, load_smirk

    return SmirkAnalyzer(finder, load_smirk(args.smirk), args.smirk_order)


def read_flame(path: Path, args: argparse.Namespace, finder: FaceAnalyzer | None) -> Expression:
    """The FLAME expression of a text file, of a saved one, or of a photo's largest face.

    Raises:
        InputError: The file cannot be read, shows no face or holds several expressions, or nothing
            is given that measures it.
        ModelFileError: The file of Save Expression is damaged or another kind of file.
    """
    from ...errors import InputError
    from ...pipelines.face_report import SUFFIXES
    from ...readers.files import read_text
    from ...sfsr.arc2face.flame import flame_expression, parse_flame

    if path.suffix.lower() in SUFFIXES:
        return _photo(path, args, finder)
    if path.suffix == ".safetensors":
        return _saved(path)
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(
            "the file of FLAME numbers cannot be read",
            where=str(path),
            fix="Give a text file with 55, 53 or 50 numbers, or a photo",
        ) from error
    return flame_expression(parse_flame(text), path.name)


def mapped(expression: Expression, path: Path) -> Expression:
    """An expression's blendshapes as FLAME's numbers, by the map in a file.

    Raises:
        InputError: The expression has FLAME's numbers already.
        ModelFileError, IncompatibleError: The file holds no such map.
    """
    from ...errors import InputError
    from ...sfsr.arc2face.flame_map import load_flame_map

    if expression.learned is not None:
        raise InputError(
            "the expression has FLAME's numbers already, and needs no map",
            where="--flame-map",
            fix="Leave it out, or give a --word, or a photo without --smirk",
        )
    return load_flame_map(path).expression(expression)


def _saved(path: Path) -> Expression:
    from ...errors import InputError
    from ...sfsr.expression_file import load_expressions

    first, *others = load_expressions(path)
    if others:
        raise InputError(
            f"the file holds {1 + len(others)} expressions",
            where=str(path),
            fix="Save one by itself",
        )
    return first


def _photo(path: Path, args: argparse.Namespace, finder: FaceAnalyzer | None) -> Expression:
    from ...errors import InputError
    from ...pipelines.images import open_rgb, tensor_of
    from ...pipelines.real.scene import largest_face
    from ...sfsr.expression import from_face

    if finder is None or args.smirk is None:
        raise InputError(
            "nothing is given that measures FLAME's numbers of a photo",
            where=str(path),
            fix="Give SMIRK_em1.pt with --smirk, and --landmarker",
        )
    image = tensor_of(open_rgb(path, "expression"))[0]
    return from_face(largest_face(finder, image, str(path)), str(path))
