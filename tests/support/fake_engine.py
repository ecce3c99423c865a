"""A real child process that stands in for the engine where only its life and death matter.

python fake_engine.py --uds PATH [--slow SECONDS] [--fail] [--deaf] [--stubborn] [--brood FILE] [--exit-after SECONDS]
"""

from __future__ import annotations

import argparse
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        _say("output of a serving engine, which must not be kept")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("engine", 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--brood")
    parser.add_argument("--exit-after", type=float)
    options = parser.parse_args()
    _say("fake engine: loading")
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.brood:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
        with open(options.brood, "a", encoding="utf-8") as file:  # noqa: PTH123 - a stand-in stays short
            file.write(f"{os.getpid()} {child.pid}\n")
    if options.fail:
        _say("fake engine: no such model")
        sys.exit(3)
    time.sleep(options.slow)
    if options.deaf:
        time.sleep(3600)
    server = _Server(options.uds, _Health)
    if options.exit_after is not None:
        threading.Timer(options.exit_after, os._exit, (7,)).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
