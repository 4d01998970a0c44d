"""Nothing leaves this machine: every connection or name look-up of this process is recorded.

A Python audit hook, because it also sees what imported modules do with sockets of their own, and
what was imported before it. Processes that a test starts are not seen.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any

_LOCAL_NAMES = {"", "localhost", socket.gethostname()}
_CONNECTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


class SocketGuard:
    """Refuses connections to other machines and look-ups of their names, and remembers them."""

    def __init__(self) -> None:
        self._attempts: list[str] = []

    def install(self) -> None:
        """Watch this process to its end."""
        sys.addaudithook(self._see)

    def take(self) -> list[str]:
        """What was attempted since the last call."""
        seen, self._attempts = self._attempts, []
        return seen

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CONNECTS:
            family, address = arguments[0].family, arguments[1]
            inet = family in (socket.AF_INET, socket.AF_INET6)
            target = address[0] if inet and isinstance(address, tuple) else None
        elif event in _LOOK_UPS:
            target = arguments[0]
        else:
            return
        if target is not None and not is_local(target):
            self._attempts.append(f"{event} {target}")
            raise PermissionError(f"a test tried to reach {target} ({event})")


def is_local(target: str | bytes) -> bool:
    """Whether a host name or address is this machine's own."""
    name = target.decode("ascii", "replace") if isinstance(target, bytes) else str(target)
    if name in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


GUARD = SocketGuard()
