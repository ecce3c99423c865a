"""What every test gets: no way out to the network, no model hub, no telemetry."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    VLLM_NO_USAGE_STATS="1",
    DO_NOT_TRACK="1",
)


class LeftTheMachine(AssertionError):
    """A test tried to talk to another machine."""


def _is_local(address: object) -> bool:
    if not isinstance(address, tuple) or not address:
        return True  # a Unix socket, a netlink address, …
    try:
        return ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback
    except ValueError:
        return str(address[0]) in {"localhost", ""}


def _refuse_the_network(event: str, args: tuple[object, ...]) -> None:
    if event not in {"socket.connect", "socket.sendto"}:
        return
    peer = args[0]
    if isinstance(peer, socket.socket) and peer.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    if not _is_local(args[1]):
        raise LeftTheMachine(f"the suite is offline, and something connects to {args[1]!r}")


sys.addaudithook(_refuse_the_network)
