"""``denseface faces``: detect faces in images; prints text or JSON."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .real.smirk import add_smirk, with_smirk

if TYPE_CHECKING:
    from ..faces.analyzers import FaceAnalyzer

TASK_FILE_VARIABLE = "DENSEFACE_TASK_FILE"
ANALYZERS = ("landmarker", "insightface", "tiny-world", "yunet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="image files and folders"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list, one object per image"
    )
    add_analyzer(parser)
    add_smirk(parser)
    parser.add_argument(
        "--fast",
        action="store_true",
        help="single pass; by default the landmarker runs twice and on the mirrored image too",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="keep results in this file; images already in it are skipped",
    )


def add_analyzer(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose an analyzer, for :func:`analyzer_of`."""
    parser.add_argument(
        "--analyzer", choices=ANALYZERS, default="landmarker", help="landmarker by default"
    )
    add_face_files(parser)


def add_face_files(parser: argparse._ActionsContainer) -> None:
    """Arguments that name the files of the landmarker, of InsightFace and of YuNet."""
    add_landmarker(parser)
    parser.add_argument(
        "--insightface", type=Path, metavar="FOLDER", help="folder of an InsightFace pack"
    )
    parser.add_argument(
        "--yunet", type=Path, metavar="FILE", help="OpenCV's face_detection_yunet .onnx file"
    )


def add_landmarker(parser: argparse._ActionsContainer) -> None:
    """The argument that names the landmarker's file, for :func:`landmarker_path`."""
    parser.add_argument(
        "--landmarker",
        type=Path,
        metavar="FILE",
        help=f"MediaPipe's face_landmarker .task file; {TASK_FILE_VARIABLE} by default",
    )


def landmarker_path(args: argparse.Namespace) -> Path | None:
    """The landmarker's file, by its option or the environment; None without."""
    named = args.landmarker or os.environ.get(TASK_FILE_VARIABLE)
    return Path(named) if named else None


def run(args: argparse.Namespace) -> None:
    """Print the faces found; progress and skipped files go to standard error."""
    from ..errors import InputError
    from ..pipelines.face_report import FaceReport, Finding, image_files

    files = image_files(args.images)
    settings = f"{args.analyzer}{' fast' if args.fast else ''}"
    if args.smirk is not None:
        settings += f" {args.smirk.name} {args.smirk_order}"
    report = FaceReport(
        lambda: with_smirk(args, analyzer_of(args, fast=args.fast)), args.resume, settings
    )
    printed = 0
    skipped: list[str] = []

    def show(finding: Finding) -> None:
        nonlocal printed
        if args.json:
            print("[" if not printed else ",", finding.json, sep="\n" if not printed else " ")
        else:
            print(finding.text)
        printed += 1

    for outcome in report.look(files, bar=len(files) > 1):
        if isinstance(outcome, str):
            skipped.append(outcome)
        else:
            show(outcome)
    if args.json:
        print("]" if printed else "[]")
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    if skipped and not printed:
        raise InputError(
            f"none of {len(files)} image{'s' if len(files) > 1 else ''} can be read",
            fix="Give PNG, JPEG or WebP files",
        )
    if skipped:
        print(f"{printed} of {len(files)} images read, {len(skipped)} skipped", file=sys.stderr)


def analyzer_of(args: argparse.Namespace, *, fast: bool = False) -> FaceAnalyzer:
    """The chosen analyzer; ``fast``: the landmarker makes a single pass.

    Raises:
        InputError, ModelFileError: Its file or folder was not given, is missing or damaged.
    """
    from ..errors import InputError, ModelFileError
    from ..published_files import BY_KEY

    if args.analyzer == "tiny-world":
        from ..demo.networks.face_finder import TinyWorldFaces

        return TinyWorldFaces()
    if args.analyzer == "insightface":
        if args.insightface is None:
            raise InputError(
                "no InsightFace folder was given", fix="Give the pack's folder with --insightface"
            )
        from ..faces.insightface.analyzer import InsightFaceAnalyzer

        return InsightFaceAnalyzer(args.insightface)
    if args.analyzer == "yunet":
        if args.yunet is None:
            raise InputError(
                "no YuNet file was given",
                fix=f"Give {BY_KEY['yunet'].where_to_get} with --yunet",
            )
        from ..faces.opencv_zoo.yunet import YuNet

        return YuNet(args.yunet)
    named = landmarker_path(args)
    if named is None:
        raise ModelFileError(
            "no face landmarker file was given",
            fix=f"Give {BY_KEY['landmarker'].where_to_get} with --landmarker or "
            f"{TASK_FILE_VARIABLE}; "
            "rendered heads can do without: --analyzer tiny-world",
        )
    from ..faces.mediapipe.landmarker import Landmarker

    return Landmarker(named, steady=not fast)
