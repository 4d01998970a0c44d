"""``make fuzz``: mutate valid files of every reader for a time, and keep what breaks one.

A reader breaks by an exception other than ours, by more than a few seconds, or by gigabytes. The
file is then kept in out/fuzz. Where atheris is installed, what a file makes run guides the next
mutations (``support/fuzz/guided.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

_TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(_TESTS / "support"), str(_TESTS / "support" / "fuzz")]

if TYPE_CHECKING:
    from guided import Outcome

_SLICE = 2.0
"""Seconds of one reader before the next one's turn."""
_LONGEST = 10
"""Seconds for one file."""
_MEMORY = 6 * 2**30


class TooLong(BaseException):
    """A file that takes too much time; no reader may catch it."""


def main() -> int:
    """Fuzz for the given time; 1 if a reader broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="600 by default")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="for what broke")
    parser.add_argument("--only", action="append", help="name of a reader; may be repeated")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    _limit_memory()
    import guided

    by_coverage = importlib.util.find_spec("atheris") is not None
    with guided.instrumented() if by_coverage else contextlib.nullcontext():
        from comfyui_dense_face.errors import FacePackError
        from fuzz_readers import READERS
    from mutations import mutated

    chosen = {name: READERS[name] for name in args.only or READERS}
    if by_coverage:
        return _report(guided.fuzz(chosen, args.seconds, args.seed, args.out))
    chance = random.Random(args.seed)
    read, broken = Counter[str](), Counter[str]()
    refused = Counter[str]()
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as place:
        homes = {name: Path(place) / str(i) for i, name in enumerate(chosen)}
        seeds = {}
        for name, home in homes.items():
            home.mkdir()
            seeds[name] = chosen[name].seeds(home)
        while time.monotonic() < end:
            for name, reader in chosen.items():
                path = homes[name] / f"a{reader.suffix}"
                until = min(end, time.monotonic() + _SLICE)
                while time.monotonic() < until:
                    content = mutated(seeds[name], chance)
                    path.write_bytes(content)
                    read[name] += 1
                    try:
                        with _in_time(), contextlib.redirect_stderr(io.StringIO()):
                            reader.read(path)
                    except FacePackError:
                        refused[name] += 1
                    except (Exception, TooLong) as error:
                        broken[name] += 1
                        _keep(args.out, name, reader.suffix, content, error)
    for name in chosen:
        print(f"{name:24} {read[name]:9,} files, {refused[name]:9,} refused, {broken[name]} broke")
    print(f"{sum(read.values()):,} files, {sum(broken.values())} broke a reader")
    return 1 if broken else 0


def _report(outcomes: Iterable[tuple[str, Outcome]]) -> int:
    files = broken = 0
    for name, outcome in outcomes:
        print(f"{name:24} {outcome.files:9,} files{', broke' * outcome.broke}", flush=True)
        files, broken = files + outcome.files, broken + outcome.broke
    print(f"{files:,} files, guided by coverage, {broken} readers broke")
    return 1 if broken else 0


def _keep(out: Path, name: str, suffix: str, content: bytes, error: BaseException) -> None:
    out.mkdir(parents=True, exist_ok=True)
    kind = name.replace(" ", "-").replace(",", "").replace("'", "")
    path = out / f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    path.write_bytes(content)
    print(f"{name}: {type(error).__name__}: {str(error)[:200]} ({path})", file=sys.stderr)


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooLong(f"more than {_LONGEST} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory() -> None:
    """So that a claim that is believed fails, instead of taking the machine's memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    sys.exit(main())
