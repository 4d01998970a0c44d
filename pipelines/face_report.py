"""Face detection over many images: resumable, and unreadable files are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..errors import FacePackError, InputError
from ..faces.analyzers import FaceAnalyzer, find_faces
from ..faces.face import Face
from .images import open_rgb, tensor_of

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
}  # fmt: skip
_DIGITS = 3


@dataclass(frozen=True)
class Finding:
    """The result for one image: ``path``, ``size`` and ``faces`` (see :func:`as_object`)."""

    json: str

    @property
    def text(self) -> str:
        """Human-readable: a line for the image and one per face, numbered from 0."""
        found = json.loads(self.json)
        faces = found["faces"]
        size = "x".join(map(str, found["size"]))
        lines = [f"{found['path']}  {size}  {len(faces)} face{'s' if len(faces) != 1 else ''}"]
        for i, face in enumerate(faces):
            left, top, right, bottom = face["box"]
            line = f"  {i}: {right - left:.0f}x{bottom - top:.0f} px at {left:.0f}, {top:.0f}"
            line += f", score {face['score']:.2f}"
            if face["pose"]:
                line += "".join(f", {name} {value:.1f}" for name, value in face["pose"].items())
            lines.append(line)
        return "\n".join(lines)


def as_object(path: Path, size: tuple[int, int], faces: Sequence[Face]) -> dict[str, Any]:
    """The result for one image as JSON values: landmarks and boxes in pixels, pose in degrees.

    Faces that SMIRK measured also have ``flame``.
    """
    return {
        "path": str(path),
        "size": list(size),
        "faces": [
            {
                "box": [round(v, _DIGITS) for v in face.box],
                "score": round(face.score, 6),
                "scheme": face.scheme,
                "landmarks": [
                    [round(x, _DIGITS), round(y, _DIGITS)]
                    for x, y in face.landmarks[:, :2].tolist()
                ],
                "pose": None
                if face.pose is None
                else {name: round(v, _DIGITS) for name, v in face.pose._asdict().items()},
                "blendshapes": {n: round(v, 6) for n, v in (face.blendshapes or {}).items()},
                **({} if face.flame is None else {"flame": _rounded(face.flame)}),
            }
            for face in faces
        ],
    }


def _rounded(numbers: Tensor) -> list[float]:
    return [round(value, 6) for value in numbers.tolist()]


def image_files(given: Sequence[Path]) -> list[Path]:
    """The given files and all images below the given folders, sorted, without duplicates.

    Raises:
        InputError: A folder contains no image.
    """
    files: dict[Path, None] = {}
    for path in given:
        if not path.is_dir():
            files[path] = None
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise InputError(
                "the folder contains no images", where=str(path), fix="Give PNG, JPEG or WebP files"
            )
        files.update(dict.fromkeys(inside))
    return list(files)


class FaceReport:
    """Detects faces in images one by one.

    Args:
        analyzer: Makes the analyzer; called only when there is an image to analyse.
        kept: Results file, one JSON object per line; images in it that have not changed are
            not analysed again. None keeps nothing.
        settings: Analyzer and mode; results with other settings are not reused.
    """

    def __init__(
        self, analyzer: Callable[[], FaceAnalyzer], kept: Path | None = None, settings: str = ""
    ) -> None:
        self._make, self._analyzer = analyzer, None
        self._kept, self._settings = kept, settings

    def look(self, files: Sequence[Path], *, bar: bool = False) -> Iterator[Finding | str]:
        """A finding per readable file, an error sentence per unreadable one, in order.

        Raises:
            FacePackError: The analyzer or the results file cannot be used.
        """
        done = self._read_kept()
        for path in tqdm(files, desc="faces", unit="image", disable=not bar):
            try:
                stamp = self._stamp(path)
                if stamp in done:
                    yield Finding(done[stamp])
                    continue
                image = open_rgb(path)
            except InputError as error:
                yield str(error)
                continue
            if self._analyzer is None:
                self._analyzer = self._make()
            try:
                faces = find_faces(self._analyzer, tensor_of(image)[0])
            except InputError as error:
                yield f"{path}: {error}"
                continue
            text = json.dumps(as_object(path, image.size, faces))
            if self._kept is not None:
                self._append(f"{stamp}\t{text}\n")
            yield Finding(text)

    def _stamp(self, path: Path) -> str:
        """A key that changes when the image does."""
        try:
            state = path.stat()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"the image cannot be read: {reason}", where=str(path), fix="Correct the path"
            ) from error
        return json.dumps([self._settings, str(path), state.st_size, state.st_mtime_ns])

    def _read_kept(self) -> dict[str, str]:
        if self._kept is None or not self._kept.exists():
            return {}
        done: dict[str, str] = {}
        try:
            content = self._kept.read_text(encoding="utf-8")
            lines = content.splitlines()
            for line in lines:
                stamp, tab, text = line.partition("\t")
                # A killed run may leave its last line incomplete: that image is analysed again.
                # So it is with a line that holds something else.
                with suppress(ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
                    if tab and Finding(text).text:
                        done[stamp] = text
        except (OSError, ValueError) as error:
            raise InputError(
                "the results file cannot be read", where=str(self._kept), fix="Name another one"
            ) from error
        if lines and not done:
            raise FacePackError(
                "this is not a results file",
                where=str(self._kept),
                fix="Choose another file, or one that does not exist yet",
            )
        if content and not content.endswith("\n"):
            self._append("\n")
        return done

    def _append(self, text: str) -> None:
        path = Path(self._kept or "")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise InputError(
                f"the results file cannot be written: {error.strerror or error}",
                where=str(path),
                fix="Choose a writable folder with free space",
            ) from error
