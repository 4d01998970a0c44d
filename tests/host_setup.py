"""Installs what a ComfyUI checkout needs into this environment, beside a CPU-only torch.

``make`` calls it when a checkout is found: ``python tests/host_setup.py CHECKOUT``. It writes
nothing into the checkout and never fetches one. torch itself stays as it is; torchvision and
torchaudio, which ComfyUI imports at its start, are installed without their dependencies and cured
where their compiled parts were built for CUDA.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CONSTRAINTS = TESTS.parent / "constraints.txt"
SITE = Path(sysconfig.get_paths()["purelib"])
TORCH_FAMILY = {"torch", "torchvision", "torchaudio"}
CURE = "torchvision_cpu"


def requirement_name(line: str) -> str:
    """Name of the package on a line of requirements.txt, empty for comments and blank lines."""
    match = re.match(r"[A-Za-z0-9._-]+", line.strip())
    return match.group(0).lower() if match else ""


def pip_install(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS)]
    subprocess.run([*command, *arguments], check=True)


def torch_is_cpu_only() -> bool:
    question = "import sys, torch; sys.exit(torch.version.cuda is not None)"
    return subprocess.run([sys.executable, "-c", question], check=False).returncode == 0


def main(checkout: Path) -> None:
    lines = (checkout / "requirements.txt").read_text(encoding="utf-8").splitlines()
    family = sorted({requirement_name(line) for line in lines} & (TORCH_FAMILY - {"torch"}))
    others = [line for line in lines if requirement_name(line) not in {"", *TORCH_FAMILY}]
    cpu_only = torch_is_cpu_only()
    if cpu_only:  # before torchvision arrives, so that it is importable from its first second
        shutil.copy(TESTS / f"{CURE}.py", SITE / f"denseface_{CURE}.py")
        (SITE / f"denseface_{CURE}.pth").write_text(f"import denseface_{CURE}\n", encoding="utf-8")
    if family:
        pip_install("--no-deps", *family)
        pip_install("--no-deps", "timm")  # SMIRK's backbone; the rest of what it needs is here
    if cpu_only:
        for library in (SITE / "torchaudio" / "lib").glob("_torchaudio*.so"):
            library.unlink()  # links to CUDA; the Python parts work without it
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("\n".join(others), encoding="utf-8")
        pip_install("-r", str(requirements))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
