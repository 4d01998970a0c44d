"""``denseface calibrate-identity``: the channel order and alignment behind given face features."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .checks import require_present
from .faces import add_analyzer, analyzer_of

if TYPE_CHECKING:
    from ..faces.encoders.calibration import Pair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="image files and folders"
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FOLDER",
        help="folder of feature files named like the images (.pth, .npy, .safetensors); "
        "the images' folder by default",
    )
    parser.add_argument(
        "--encoder",
        type=Path,
        required=True,
        metavar="FILE",
        help="weights of IR-SE50, .safetensors or .pth",
    )
    add_analyzer(parser)


def run(args: argparse.Namespace) -> None:
    """Print the variants, best first, and the conclusion."""
    from ..faces.encoders.calibration import calibrate
    from ..faces.encoders.ir_se50 import load_ir_se50

    require_present(args)
    net = load_ir_se50(args.encoder)
    pairs = _pairs(args)
    variants = calibrate(net, pairs)
    print(f"{len(pairs)} images with features")
    for variant in variants:
        cosines = variant.cosines
        lowest = f"{min(cosines):.3f}" if cosines else "none"
        print(
            f"{variant.channel_order}, {variant.alignment:<14} mean cosine {variant.mean:6.3f}, "
            f"lowest {lowest}, {len(cosines)} images"
        )
    best = variants[0]
    if best.reproduces:
        print(f"These features were made with {best.channel_order} and {best.alignment}.")
    else:
        print("No variant reproduces the features: another encoder or another alignment was used.")


def _pairs(args: argparse.Namespace) -> list[Pair]:
    from ..errors import InputError
    from ..faces.analyzers import find_faces
    from ..faces.encoders.calibration import Pair
    from ..faces.encoders.feature_file import SUFFIXES, read_feature
    from ..pipelines.face_report import image_files
    from ..pipelines.images import open_rgb, tensor_of

    named: list[tuple[Path, Path]] = []
    for image in image_files(args.images):
        folder = args.features or image.parent
        feature = next((p for s in SUFFIXES if (p := folder / f"{image.stem}{s}").is_file()), None)
        if feature is not None:
            named.append((image, feature))
    if not named:
        raise InputError(
            "no image has a feature file of the same name",
            where=str(args.features or args.images[0]),
            fix="Give the folder of the feature files with --features",
        )
    analyzer = analyzer_of(args)
    pairs = []
    for image, feature in named:
        pixels = tensor_of(open_rgb(image))[0]
        found = find_faces(analyzer, pixels, order="largest first")
        # A face with only a box cannot be aligned.
        face = next((face for face in found if face.five is not None), None)
        pairs.append(Pair(pixels, face, read_feature(feature)))
    return pairs
