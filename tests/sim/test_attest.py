from __future__ import annotations

import hashlib
from dataclasses import replace

from mitai_crypto.evidence import EvidenceBundle, TeeKind, report_data
from mitai_crypto.policy import Reference
from mitai_crypto.simulated_log import replay
from mitai_crypto.verify import verify_evidence
from mitai_sim.attest import Attester
from mitai_sim.root import make_machine
from support.evidence_builder import EVENTS, NONCE, NOW, build_enclave

MACHINE = make_machine(now=NOW)
ATTESTER = Attester(MACHINE, EVENTS)


def test_what_the_launcher_quotes_verifies() -> None:
    enclave = build_enclave()
    material = enclave.material.encode()
    evidence, collateral = ATTESTER.quote(report_data(NONCE, material, b""), now=NOW)
    bundle = EvidenceBundle(TeeKind.SIMULATED, material, b"", evidence, collateral).encode()
    policy = enclave.policy(
        root=MACHINE.root.fingerprint,
        references=(Reference("measured", NOW, None, replay(EVENTS)),),
        chips=(MACHINE.chip_id,),
    )
    assert verify_evidence(bundle, nonce=NONCE, policy=policy, now=NOW).simulated


def test_collateral_is_fresh_for_each_quote() -> None:
    later = NOW + 7 * 86_400
    _, early = ATTESTER.quote(bytes(64), now=NOW)
    _, late = ATTESTER.quote(bytes(64), now=later)
    assert early != late


def test_a_sealing_key_belongs_to_machine_measurement_and_label() -> None:
    key = ATTESTER.sealing_key("cache")
    assert len(key) == 32
    assert Attester(MACHINE, EVENTS).sealing_key("cache") == key
    changed = (*EVENTS[:-1], replace(EVENTS[-1], digest=hashlib.sha256(b"other").hexdigest()))
    others = [
        ATTESTER.sealing_key("cache2"),
        Attester(MACHINE, changed).sealing_key("cache"),
        Attester(make_machine(now=NOW), EVENTS).sealing_key("cache"),
    ]
    assert len({key, *others}) == 4
