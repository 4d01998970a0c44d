"""A real ComfyUI server on a free port, and the few calls of its API that the tests need."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]

START_SECONDS = 180


class ServerError(RuntimeError):
    """The server did not start, refused a graph, or ended a run with an error."""


class ComfyServer:
    """One running server. Everything it writes lies under ``base``.

    Args:
        checkout: The ComfyUI checkout.
        base: An empty folder for models, input, output, user and custom_nodes.
        packs: Folder name in custom_nodes to the folder that stands there (as a symlink).
        flags: Further flags of main.py.
        python: The interpreter; its environment has the host's libraries.
    """

    def __init__(
        self,
        checkout: Path,
        base: Path,
        packs: dict[str, Path],
        flags: tuple[str, ...] = (),
        python: str = sys.executable,
    ) -> None:
        self.checkout = checkout
        self.base = base
        self.log_path = base / "server.log"
        for folder in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        for name, target in packs.items():
            (base / "custom_nodes" / name).symlink_to(target, target_is_directory=True)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [
            python,
            "main.py",
            "--cpu",
            *("--listen", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--base-directory", str(base)),
            *("--database-url", "sqlite:///:memory:"),
            "--disable-api-nodes",
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def quick_test(self) -> tuple[int, str]:
        """Import everything, serve nothing: exit code and log of ``--quick-test-for-ci``."""
        command = [*self.command, "--quick-test-for-ci"]
        done = subprocess.run(
            command,
            cwd=self.checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            timeout=START_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def __enter__(self) -> ComfyServer:
        # The log is a file and no pipe: nobody has to read it for the server to go on.
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.checkout,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; twice is harmless."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"ComfyUI ended at its start:\n{self.log()[-4000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise ServerError(f"ComfyUI did not answer in {START_SECONDS} s:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """All that the server has printed so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Process id, for measurements of memory."""
        assert self._process is not None
        return self._process.pid

    # ---- the API -------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """GET, decoded from JSON."""
        return json.loads(self._call(path))

    def read(self, path: str) -> bytes:
        """GET of a file, such as one of an extension's."""
        return self._call(path)

    def post(self, path: str, payload: dict[str, Any]) -> Any:
        """POST of JSON; the answer decoded, None when it is empty.

        Raises:
            ServerError: With the server's own explanation, e.g. of a graph that is not valid.
        """
        answer = self._call(path, json.dumps(payload).encode(), "application/json")
        return json.loads(answer) if answer else None

    def _call(self, path: str, data: bytes | None = None, kind: str = "") -> bytes:
        headers = {"Content-Type": kind} if kind else {}
        request = urllib.request.Request(self.url + path, data=data, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.read()
        except urllib.error.HTTPError as error:
            body = error.read().decode(errors="replace")
            raise ServerError(f"{error.code} for {path}: {body}") from error

    def queue(self, graph: Graph, client_id: str = "", extra: dict[str, Any] | None = None) -> str:
        """Queue a graph in API form and return its prompt id.

        client_id: Whom the server sends its messages about the run.
        extra: Settings of the run.
        """
        payload: dict[str, Any] = {"prompt": graph, "extra_data": extra or {}}
        if client_id:
            payload["client_id"] = client_id
        return self.post("/prompt", payload)["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300) -> dict[str, Any]:
        """The history entry of a run once it has ended, well or not."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if history:
                return history[prompt_id]
            time.sleep(0.1)
        raise ServerError(f"the run did not end in {timeout} s:\n{self.log()[-4000:]}")

    def run(self, graph: Graph, timeout: float = 300) -> dict[str, Any]:
        """Queue, wait, and return the outputs by node id.

        Raises:
            ServerError: The graph is not valid or its run ended with an error.
        """
        entry = self.wait(self.queue(graph), timeout)
        if entry["status"]["status_str"] != "success":
            messages = entry["status"]["messages"]
            errors = [detail["exception_message"] for kind, detail in messages if "error" in kind]
            raise ServerError("\n".join([*errors, json.dumps(messages, indent=1)[-4000:]]))
        return entry["outputs"]

    def interrupt(self) -> None:
        """Ask the running graph to stop."""
        self.post("/interrupt", {})

    def free(self) -> None:
        """Unload all models and drop all cached outputs, once nothing runs."""
        self.post("/free", {"unload_models": True, "free_memory": True})

    def view(self, image: dict[str, str]) -> bytes:
        """The file behind an entry of ``outputs[node]["images"]``."""
        return self._call("/view?" + urllib.parse.urlencode(image))

    def upload_image(self, path: Path) -> str:
        """Put an image where the LoadImage node finds it; returns the name to give to it."""
        mark = uuid.uuid4().hex
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        return json.loads(self._call("/upload/image", body, kind))["name"]


def _environment() -> dict[str, str]:
    # Compiled modules are kept between starts, as on any user's machine.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
