"""Continuous traffic of the real client while keys rotate, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from mitai.enclave import EnclaveClient
from support.sealed_client import TOKEN

if TYPE_CHECKING:
    from mitai.disclosure import Outgoing
    from mitai_crypto.crypto_material import CryptoMaterial
    from mitai_crypto.policy import TrustPolicy
    from support.evidence_builder import BuiltEnclave
    from support.sidecar import Sidecar

TEXT = "The retention period is 14 days. 保存期限为十四天。"
ROTATIONS = 5


def policy_for(machine: BuiltEnclave, sidecar: Sidecar) -> TrustPolicy:
    return machine.policy(
        model_name=sidecar.identity.model_name,
        model_digest=None,
        configuration=(sidecar.identity.configuration,),
        engine=("external",),
    )


class Traffic:
    """One client after another question, until told to stop; what it was shown and told."""

    def __init__(self, url: str, policy: TrustPolicy) -> None:
        self.url = url
        self.policy = policy
        self.answers = 0
        self.sealings = 0
        self.materials: list[CryptoMaterial] = []
        self.stopped = False

    def ask(self, *, fresh: bool) -> None:
        """Ask until stopped; with `fresh` by a new client each time, which sees the keys of the moment."""
        client = EnclaveClient(self.url, policy=self.policy, token=TOKEN, timeout=20)
        while not self.stopped:
            stream = client.chat([{"role": "user", "content": "保存多久？"}], before_send=self._sealed)
            assert "".join(stream) == TEXT
            self.answers += 1
            material = stream.attestation.material
            if not self.materials or self.materials[-1] != material:
                self.materials.append(material)
            if fresh:
                client.close()
                client = EnclaveClient(self.url, policy=self.policy, token=TOKEN, timeout=20)
        client.close()

    def _sealed(self, _: Outgoing) -> None:
        self.sealings += 1


async def run_through_rotations(sidecar: Sidecar, policy: TrustPolicy, url: str | None = None) -> list[Traffic]:
    traffics = [Traffic(url or sidecar.url, policy) for _ in range(4)]
    began = sidecar.epochs.current
    tasks = [
        asyncio.create_task(asyncio.to_thread(traffic.ask, fresh=index % 2 == 0))
        for index, traffic in enumerate(traffics)
    ]
    rotations, current = 0, began
    while rotations < ROTATIONS and not any(task.done() for task in tasks):
        await asyncio.sleep(0.05)
        if sidecar.epochs.current is not current:
            rotations, current = rotations + 1, sidecar.epochs.current
    for traffic in traffics:
        traffic.stopped = True
    await asyncio.gather(*tasks)  # a failed request is raised here
    return traffics


def assert_each_change_is_visible(traffics: list[Traffic]) -> None:
    for traffic in traffics:
        assert len(traffic.materials) == len(
            {material.encode() for material in traffic.materials}
        )  # never back to an old one
    for traffic in traffics[::2]:
        keys = [material.keys for material in traffic.materials]
        assert len(keys) >= ROTATIONS - 1
        for before, after in itertools.pairwise(keys):
            half = len(before) // 2
            assert {key.config for key in before[:half]}.isdisjoint(key.config for key in after)
        announced = sum(b[len(b) // 2 :] == a[: len(a) // 2] for b, a in itertools.pairwise(keys))
        assert announced >= len(keys) - 2  # but for one that a slow machine slept through
