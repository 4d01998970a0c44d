"""``denseface convert``: convert the authors' released checkpoint to this pack's files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .checks import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("source", type=Path, metavar="IN", help="the .ckpt or .safetensors file")
    parser.add_argument(
        "adapter", type=Path, metavar="OUT", help="adapter file, for models/dense_face"
    )
    parser.add_argument(
        "--unfused",
        action="store_true",
        help="keep the adapter's projections separate, for further training; larger, same images",
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="also write the contained Stable Diffusion 1.5, for models/checkpoints",
    )
    parser.add_argument(
        "--ir-se50", type=Path, metavar="FILE", help="also write the face encoder IR-SE50"
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="precision of the files, float16 by default",
    )
    parser.add_argument(
        "--source-sha256", action="store_true", help="store the source's SHA-256 in the files"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def run(args: argparse.Namespace) -> None:
    """Print each file with its size; progress goes to standard error."""
    import torch
    from tqdm import tqdm

    from ..dense_face.checkpoints.convert import Plan, convert
    from ..storage import file_sha256

    for option, path in (("OUT", args.adapter), ("--base", args.base), ("--ir-se50", args.ir_se50)):
        if path is not None:
            require_file(option, path)
    started, before = time.monotonic(), peak_memory()
    plan = Plan(
        args.adapter,
        args.base,
        args.ir_se50,
        fused=not args.unfused,
        dtype=getattr(torch, args.dtype),
        about={"source_sha256": file_sha256(args.source)} if args.source_sha256 else None,
        overwrite=args.overwrite,
    )
    with tqdm(unit=" numbers", unit_scale=True, desc="converting", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        written = convert(args.source, plan, show)
    for file in written:
        print(f"{file.path}  {file.tensors} tensors, {_mb(file.nbytes)}")
    peak = peak_memory()
    print(
        f"{time.monotonic() - started:.0f} s"
        + (f", peak memory {_mb(peak)}, {_mb(before)} of it before the start" if peak else "")
    )


def peak_memory() -> int:
    """Peak memory of this process in bytes; 0 where the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    held = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(held[0]) * 1024 if held else 0


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
