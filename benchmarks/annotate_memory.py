"""Memory and speed of ``denseface annotate`` over many images: ``python -m ...annotate_memory``.

The folder holds links to a few photos, or to rendered heads if none are given, four per person.
Prints the resident memory after 100 images and then at regular intervals. The files of a person
are deleted at once, so that ten thousand images do not fill the disk; the person's lines of the
table are kept, because they are joined at the end.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..demo.networks.face_finder import TinyWorldFaces
from ..demo.people import sample_heads
from ..demo.renderer.renderer import render
from ..faces.analyzers import FaceAnalyzer
from ..storage import atomic_path
from ..training.data.annotate_folder import Annotator
from ..training.data.annotate_groups import annotate
from ..training.data.codec import jpeg
from ..training.data.folder import FACES, FaceFolderWriter
from ..training.data.people import people_of
from ..training.data.record import KINDS, Record
from .result import megabytes

PER_PERSON = 4


@dataclass(frozen=True)
class Measurement:
    """Images so far, seconds since the first one, and resident megabytes."""

    images: int
    seconds: float
    megabytes: float


class _DeletingWriter(FaceFolderWriter):
    """Keeps a person's table rows and deletes the other files."""

    def write(self, group: int, people: Sequence[int], records: Sequence[Record]) -> None:
        super().write(group, people, records)
        for subject in people:
            for kind in KINDS:
                shutil.rmtree(self.folder / FACES / f"{subject:07d}" / kind, ignore_errors=True)


def link_photos(folder: Path, photos: Sequence[Path], count: int) -> None:
    """Make ``count`` links to photos, :data:`PER_PERSON` in each person's folder."""
    for number in range(count):
        photo = photos[number % len(photos)].resolve()
        home = folder / f"{number // PER_PERSON + 1:07d}"
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{number % PER_PERSON:03d}{photo.suffix}").symlink_to(photo)


def render_photos(folder: Path, count: int) -> list[Path]:
    """Write ``count`` rendered heads as JPEG files."""
    paths, heads = [], sample_heads(list(range(count)))
    for number in range(count):
        path = folder / f"{number}.jpg"
        with atomic_path(path) as temporary:
            temporary.write_bytes(jpeg(render(heads[number], 256).rgb[0]))
        paths.append(path)
    return paths


def measure(
    photos: Path,
    out: Path,
    analyzer: Callable[[], FaceAnalyzer],
    every: int,
    report: Callable[[Measurement], object],
) -> None:
    """Annotate a folder; report after 100 images, when all is loaded, and every ``every``."""
    done, started = 0, time.perf_counter()

    def progress(more: int) -> None:
        nonlocal done
        done += more
        if done == 100 or done % every == 0:
            report(Measurement(done, time.perf_counter() - started, megabytes()))

    annotate(people_of(photos), _DeletingWriter(out), Annotator(analyzer), progress=progress)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="*", help="rendered heads if none are given")
    parser.add_argument("--landmarker", type=Path, help=".task file; default: tiny world")
    parser.add_argument("--fast", action="store_true", help="run the landmarker once per face")
    parser.add_argument("--count", type=int, default=10_000, help="images")
    parser.add_argument("--every", type=int, default=1000, help="images between measurements")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    def analyzer() -> FaceAnalyzer:
        if args.landmarker is None:
            return TinyWorldFaces()
        from ..faces.mediapipe.landmarker import Landmarker

        return Landmarker(args.landmarker, steady=not args.fast)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = args.photos or render_photos(folder / "photos", 8)
        link_photos(folder / "links", photos, args.count)
        measure(folder / "links", folder / "out", analyzer, args.every, _print)


def _print(mark: Measurement) -> None:
    text = f"{mark.images:>6} images {mark.seconds:8.1f} s {mark.megabytes:8.1f} MB"
    print(text, flush=True)  # a run takes many minutes


if __name__ == "__main__":
    main()
