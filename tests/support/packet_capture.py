"""Record what really passes a loopback port, as a packet capture on the interface sees it (needs CAP_NET_RAW)."""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_OUTGOING = 4  # on loopback each packet is seen twice; count the outgoing one
_MAX_BYTES = 256 * 1024 * 1024


@dataclass
class PacketCapture:
    """Capture the TCP payloads to and from one port of 127.0.0.1, reassembled in sequence order per direction."""

    port: int
    _segments: dict[tuple[int, int], dict[int, bytes]] = field(default_factory=dict, repr=False)

    @staticmethod
    def permitted() -> bool:
        """Say whether this process may open a packet socket."""
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)).close()
        except (PermissionError, AttributeError, OSError):
            return False
        return True

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packet-capture", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def streams(self) -> list[bytes]:
        """Return the payload of each direction of each connection, in sequence order."""
        return [b"".join(parts[seq] for seq in sorted(parts)) for parts in self._segments.values()]

    def data(self) -> bytes:
        """Return all payloads, connections after one another."""
        return b"\n".join(self.streams())

    def _run(self) -> None:
        total = 0
        while total < _MAX_BYTES:
            try:
                frame, address = self._socket.recvfrom(65_536)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            if address[2] == _OUTGOING and address[1] == _ETH_P_IP:
                total += self._keep(frame[14:])

    def _keep(self, packet: bytes) -> int:
        header = (packet[0] & 15) * 4
        if packet[9] != socket.IPPROTO_TCP:
            return 0
        length = struct.unpack_from("!H", packet, 2)[0] or len(packet)
        source, target, sequence = struct.unpack_from("!HHI", packet, header)
        if self.port not in {source, target}:
            return 0
        payload = packet[header + (packet[header + 12] >> 4) * 4 : length]
        if payload:
            self._segments.setdefault((source, target), {})[sequence] = payload
        return len(payload)
