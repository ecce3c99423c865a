"""What leaves a running replica, and what it leaves behind: its real processes, in front of the simulated engine."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from typing import TYPE_CHECKING

import httpx
import psutil

from mitai.enclave import EnclaveClient
from support import canary
from support.launched import launched
from support.sealed_client import TOKEN
from support.upstream_simulator import Behaviour

if TYPE_CHECKING:
    from pathlib import Path

    from support.launched import Launched
    from support.upstream_simulator import UpstreamSimulator

PLANTED = ["zanzibar-7731-quince", "金丝雀在第七矿井", "金絲雀在第七礦井"]


def tree(running: Launched) -> list[psutil.Process]:
    launcher = psutil.Process(running.process.pid)
    return [launcher, *launcher.children(recursive=True)]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ask(running: Launched) -> str:
    with EnclaveClient(running.url, policy=running.policy, token=TOKEN, timeout=20) as client:
        return "".join(client.chat([{"role": "user", "content": " ".join(PLANTED)}]))


async def test_threat_44_a_replica_has_no_socket_but_on_loopback(short_path: Path, engine: UpstreamSimulator) -> None:
    """Looked at while an answer streams: gateway, metrics, engine and launcher, whatever each process has open."""
    engine.behaviour = Behaviour(pause=0.1)
    async with launched(short_path, engine.path, "--workers", "2") as running:
        asking = asyncio.create_task(asyncio.to_thread(ask, running))
        async with asyncio.timeout(20):
            while not engine.calls:  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.02)
        processes = tree(running)
        assert len(processes) == 4
        found = [connection for process in processes for connection in process.net_connections("inet")]
        assert await asking
        listening = [connection for connection in found if connection.status == psutil.CONN_LISTEN]
        assert len({connection.laddr.port for connection in listening}) == 2
        addresses = [end.ip for connection in found for end in (connection.laddr, connection.raddr) if end]
        assert {ip for ip in addresses if not ipaddress.ip_address(ip).is_loopback} == set()


async def test_threat_16_no_planted_word_is_in_logs_metrics_processes_or_files(
    short_path: Path, engine: UpstreamSimulator
) -> None:
    engine.behaviour = Behaviour(words=(*PLANTED, TOKEN))
    async with launched(short_path, engine.path, "--workers", "2", "--runtime-dir", str(short_path / "run")) as running:
        answer = await asyncio.to_thread(ask, running)
        assert all(word in answer for word in PLANTED)
        ports = {
            connection.laddr.port
            for connection in running.keeper.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        async with httpx.AsyncClient() as scraper:
            pages = [await scraper.get(f"http://127.0.0.1:{port}/metrics") for port in ports]
        shown = files_below(short_path)
        for process in tree(running):
            shown[f"command line {process.pid}"] = "\0".join(process.cmdline()).encode()
            shown[f"environment {process.pid}"] = repr(process.environ()).encode()
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 30) == 0
    assert any("mitai_requests" in page.text for page in pages)
    shown |= {str(page.url): page.content for page in pages}
    shown["log"] = (short_path / "err").read_bytes()
    assert len(shown["log"]) > 100
    for where, data in shown.items():
        assert canary.find([*PLANTED, TOKEN], data) == [], where
