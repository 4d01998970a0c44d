"""The guard itself: it records what would leave this machine and allows local servers."""

from __future__ import annotations

import socket
import threading

import pytest
from socket_guard import GUARD, is_local


@pytest.mark.parametrize("target", ["127.0.0.1", b"127.1.2.3", "::1", "::", "localhost", ""])
def test_this_machine(target: str | bytes) -> None:
    assert is_local(target)


@pytest.mark.parametrize("target", ["192.0.2.1", "2001:db8::1", "example.org", b"example.org"])
def test_other_machines(target: str | bytes) -> None:
    assert not is_local(target)


def test_connections_and_look_ups_are_refused_and_remembered() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
        stream.settimeout(1)
        with pytest.raises(PermissionError, match="tried to reach 192"):
            stream.connect(("192.0.2.1", 80))
        with pytest.raises(PermissionError):
            stream.connect_ex(("192.0.2.1", 80))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with datagrams, pytest.raises(PermissionError):
        datagrams.sendto(b"x", ("192.0.2.1", 53))
    with pytest.raises(PermissionError):
        socket.getaddrinfo("example.org", 80)
    with pytest.raises(PermissionError):
        socket.gethostbyname("example.org")
    # A library that swallows the error would still fail its test: the fixture checks this list.
    assert len(GUARD.take()) == 5


def test_a_server_of_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = threading.Thread(target=lambda: server.accept()[0].close())
        answer.start()
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            assert client.recv(1) == b""
        answer.join()
    assert GUARD.take() == []
