"""Loading a network of OpenCV's model zoo by the OpenCV class that is made for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...errors import ModelFileError, refuse_with
from ...published_files import BY_KEY
from ..dnn import opencv

T = TypeVar("T")
_LFS_POINTER = b"version https://git-lfs"
"""Start of the small text file that a clone without Git LFS has in place of the network."""


@dataclass(frozen=True)
class ZooNetwork:
    """A published network and its class in OpenCV.

    title: In messages. class_name: In ``cv2``. key: In ``published_files``.
    """

    title: str
    class_name: str
    key: str

    def create(self, path: str | Path, *arguments: Any) -> Any:
        """An instance of the class for the file.

        Args:
            arguments: Of the class's ``create``, after the files of the network.

        Raises:
            ModelFileError: The file is missing, damaged, or not an ONNX file.
            FacePackError: OpenCV is not installed, or without the class.
        """
        maker = getattr(opencv(self.class_name), self.class_name)
        path = Path(path)
        if not path.is_file():
            raise ModelFileError(
                f"the {self.title} file is missing", where=str(path), fix=f"Put {self._get} there"
            )
        unreadable = ModelFileError(
            f"the {self.title} file cannot be read", where=str(path), fix="Check its permissions"
        )
        with refuse_with(unreadable), path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ModelFileError(
                    f"the {self.title} file is a Git LFS pointer, not the network itself",
                    where=str(path),
                    fix=f"Download {self._get}",
                )
        return self.checked(lambda: maker.create(str(path), "", *arguments), path)

    def checked(self, run: Callable[[], T], path: str | Path) -> T:
        """What ``run`` returns.

        Raises:
            ModelFileError: OpenCV fails in it: the file holds another network.
        """
        try:
            return run()
        except opencv(self.class_name).error as error:
            raise self.another(path) from error

    def another(self, path: str | Path) -> ModelFileError:
        """The error for a file that is something else."""
        return ModelFileError(
            f"the file is damaged or holds another network than {self.title}",
            where=str(path),
            fix=f"Use {self._get}",
        )

    @property
    def _get(self) -> str:
        return BY_KEY[self.key].where_to_get


YUNET = ZooNetwork("YuNet", "FaceDetectorYN", "yunet")
SFACE = ZooNetwork("SFace", "FaceRecognizerSF", "sface")
