"""``denseface evaluate photos``: people, scenes, prompts and words on one's own base."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ..faces.angles import ANGLE_NAMES
from .checks import require_folder, require_sampling
from .evaluate_photos_drawing import draw_pending
from .faces import landmarker_path
from .real.angles import add_angle_options, angles_on_a_base
from .real.base import check_base
from .real.face_mesh import add_face_mesh_options, face_mesh_rig
from .real.image import read_scene
from .real.loading import finder_of, recogniser_of
from .real.options import (
    add_expression_options,
    add_real_options,
    add_sampling_options,
    drawing_choices,
    require_files,
)

if TYPE_CHECKING:
    from ..evaluation.photos.image_folder import ImageFolder
    from ..evaluation.photos.people import Person
    from ..evaluation.photos.problems import Problems
    from ..evaluation.photos.summary import Summary
    from ..faces.analyzers import FaceAnalyzer, Recogniser
    from ..pipelines.real.scene import SceneCrop

DESCRIPTION = """\
Draw people from photos on a Stable Diffusion 1.5 or SDXL checkpoint of yours, with every word,
prompt and scene, and measure the images: whether a recogniser that conditions nothing knows the
person, how well the word shows, and whether anything outside the face of a scene changed
(docs/measuring.md).

Images, metrics.csv, summary.json and sheet.png are written to --out. A run that was stopped
continues with the same command: only what is missing is drawn."""

FILES = (
    "base",
    "vae",
    "identity_adapter",
    "clip_vision",
    "expression_adapter",
    "dense_face",
    "controlnet",
    "control_image",
    "insightface",
    "yunet",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--references",
        type=Path,
        required=True,
        metavar="DIR",
        help="the people: a folder of photos for each, or a photo each; named like the person",
    )
    parser.add_argument(
        "--evaluator",
        type=Path,
        required=True,
        metavar="FILE",
        help="recogniser that measures: SFace's .onnx file, or one of InsightFace or a folder; not "
        "the one of --insightface",
    )
    for name, what, usual in (
        ("prompt", "prompt", "three of a person"),
        ("word", "one of the 135 words", "six with --expression-adapter, else none,"),
    ):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="WORDS" if name == "prompt" else "WORD",
            help=f"{what}; may be repeated; {usual} by default",
        )
        parser.add_argument(
            f"--{name}s",
            type=Path,
            metavar="FILE",
            help=f"a UTF-8 text file with a {name} on each line",
        )
    parser.add_argument(
        "--scene",
        type=Path,
        action="append",
        default=[],
        metavar="IMAGE",
        help="draw the face in this image; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/photos"), metavar="DIR", help="folder to write"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_sampling_options(parser)
    add_expression_options(parser)
    without = ("mask", "arc2face", "reference-image", "flame-map", "smirk")
    add_real_options(parser, base_required=True, omit=without)
    add_angle_options(parser)
    add_face_mesh_options(parser)


def run(args: argparse.Namespace) -> None:
    """Check everything, draw what is missing, measure all images, write and print the figures."""
    from tqdm import tqdm

    from ..evaluation.photos.cases import cases_of
    from ..evaluation.photos.gallery import Gallery
    from ..evaluation.photos.lists import PROMPTS, WORDS, entries, expressions_by_word
    from ..evaluation.photos.measure import Measure
    from ..evaluation.photos.people import photos_by_name, read_persons, require_independent
    from ..evaluation.photos.problems import Problems
    from ..evaluation.photos.report import METRICS, SHEET, contact_sheet, write_metrics
    from ..evaluation.photos.summary import summarised
    from ..storage import atomic_path

    require_sampling(args)
    require_folder("--out", args.out)
    problems = Problems()
    with problems.collect():
        require_files(args, "references", "prompts", "words")
    prompts = entries(args.prompt, args.prompts, problems) or list(PROMPTS)
    words = entries(args.word, args.words, problems)
    if not words and args.expression_adapter is not None:
        words = list(WORDS)
    expressions = expressions_by_word(words, _intensity(args), args.seed, problems)
    photos = photos_by_name(args.references, problems)
    problems.check()  # what can be seen without loading anything
    check_base(args)
    drawing_choices(args)  # a wrong sampler fails at once
    rig, angles = face_mesh_rig(args), angles_on_a_base(args)
    finder, evaluator, recogniser = _analyzers(args)
    scenes = _scenes(args, finder, problems)
    people = read_persons(
        photos, finder, evaluator, recogniser, problems,
        aligned=args.clip_vision is not None, progress=True,
    )  # fmt: skip
    images = _image_folder(args, people, scenes, problems)
    problems.check()
    require_independent(people)
    cases = cases_of(
        [person.name for person in people], prompts, list(expressions) or [None],
        list(scenes) or [None],
    )  # fmt: skip
    pending = images.pending(cases)
    if pending:
        draw_pending(args, pending, images, people, expressions, scenes, rig, angles)
    gallery = Gallery(people)
    measure = Measure(finder, evaluator, gallery, expressions, scenes)
    rows = {case: measure(case, images.read(case)) for case in tqdm(cases, desc="measure")}
    write_metrics(args.out / METRICS, images, rows)
    with atomic_path(args.out / SHEET) as temporary:
        contact_sheet(images, cases, people, f"{args.base.name}, seed {args.seed}").save(temporary)
    summary = summarised((case.person, row) for case, row in rows.items())
    _report(args, summary, summarised(gallery.ceiling()), images, len(cases))


def _report(
    args: argparse.Namespace, summary: Summary, ceiling: Summary, images: ImageFolder, count: int
) -> None:
    """Write the summary and print it."""
    import json

    from ..evaluation.photos.fingerprints import fingerprints
    from ..evaluation.photos.problems import Problems
    from ..evaluation.photos.report import SUMMARY, text_lines, write_summary
    from ..evaluation.photos.summary import as_json

    result = {
        "images": count,
        "metrics": as_json(summary),
        "ceiling": as_json(ceiling) or None,
        "evaluator": fingerprints({"evaluator": args.evaluator}, Problems())["evaluator"],
        "seed": args.seed,
        "photos_sha256": images.person_settings,
        "scenes_sha256": images.scene_settings,
        "settings": images.settings,
    }
    write_summary(args.out / SUMMARY, result)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(*text_lines(summary, ceiling), sep="\n")
    print(f"{count} images of {len(images.person_settings)} people, seed {args.seed}: {args.out}")


def _analyzers(args: argparse.Namespace) -> tuple[FaceAnalyzer, Recogniser, Recogniser | None]:
    """What finds faces, what evaluates identity, and what conditions; None if nothing does."""
    from ..errors import InputError

    finder = finder_of(args)
    if finder is None:
        raise InputError(
            "nothing is given that finds faces",
            where="--landmarker, --yunet, --insightface",
            fix="Give --landmarker, which also measures expressions, --yunet or --insightface",
        )
    # Without such an adapter the base draws anybody: a control.
    conditions = args.identity_adapter is not None or args.dense_face is not None
    recogniser = recogniser_of(args) if conditions else None
    if recogniser is None and conditions:
        raise InputError(
            "nothing is given that measures the people for the adapter",
            where="--insightface",
            fix="Give InsightFace's folder",
        )
    if landmarker_path(args) is None:
        print("note: without --landmarker expressions are not measured", file=sys.stderr)
    return finder, evaluator_of(args), recogniser


def evaluator_of(args: argparse.Namespace) -> Recogniser:
    """The recogniser that measures."""
    from ..faces.encoders.load import load_recogniser

    return load_recogniser(args.evaluator)


def _scenes(
    args: argparse.Namespace, finder: FaceAnalyzer, problems: Problems
) -> dict[str, SceneCrop]:
    """The scenes by their files' names."""
    from ..errors import InputError

    found: dict[str, SceneCrop] = {}
    for path in args.scene:
        with problems.collect():
            if path.name in found:
                raise InputError("two scenes have one name", where=str(path), fix="Rename one")
            found[path.name] = read_scene(path, args, finder)
    return found


def _intensity(args: argparse.Namespace) -> float:
    return 1.0 if args.intensity is None else args.intensity


def _image_folder(
    args: argparse.Namespace, people: list[Person], scenes: Collection[str], problems: Problems
) -> ImageFolder:
    """The images with all that they depend on."""
    from .. import __version__
    from ..evaluation.photos.fingerprints import fingerprints
    from ..evaluation.photos.image_folder import ImageFolder
    from ..pipelines.single_file import comfyui_tokenizer

    files = {name: getattr(args, name) for name in FILES}
    files["landmarker"] = landmarker_path(args)
    files["tokenizer"] = args.tokenizer or comfyui_tokenizer()
    names = (
        *("negative", "balance", "lora_strength", "s_scale", "control_strength", "plus_version"),
        *("face_mesh", "gaze", *ANGLE_NAMES),
    )
    settings = {
        "version": __version__,
        "files": fingerprints(files, problems),
        **drawing_choices(args),
        "intensity": _intensity(args),
        **{name: getattr(args, name) for name in names},
    }
    found = fingerprints({p.name: p for p in args.scene if p.name in scenes}, problems)
    return ImageFolder(
        args.out / "images",
        settings,
        {person.name: list(person.fingerprints) for person in people},
        {name: file[name] for name, file in found.items()},
        args.seed,
    )
