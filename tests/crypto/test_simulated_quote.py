from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import EvidenceError
from mitai_crypto.labels import MAX_SIMULATED_EVENTS
from mitai_crypto.simulated_quote import parse_evidence
from support.evidence_builder import build_enclave

ENCLAVE = build_enclave()
SIGNED = ENCLAVE.sign(ENCLAVE.quote)


def test_round_trip_and_signature() -> None:
    found = parse_evidence(SIGNED.encode())
    assert found == SIGNED
    found.verify_signature(ENCLAVE.platform_key.public_key())


def test_another_key_did_not_sign_it() -> None:
    with pytest.raises(EvidenceError, match="did not sign"):
        SIGNED.verify_signature(build_enclave("B").platform_key.public_key())


def test_a_quote_that_was_never_signed_in_this_form_is_refused() -> None:
    for spoiled in (SIGNED.signed + b" ", b"{}", SIGNED.signed.replace(b'"v":1', b'"v":2')):
        with pytest.raises(EvidenceError):
            parse_evidence(replace(SIGNED, signed=spoiled).encode())


def test_the_number_of_events_is_capped() -> None:
    event = ENCLAVE.events[0]
    assert parse_evidence(replace(SIGNED, events=(event,) * MAX_SIMULATED_EVENTS).encode())
    with pytest.raises(EvidenceError, match="events"):
        parse_evidence(replace(SIGNED, events=(event,) * (MAX_SIMULATED_EVENTS + 1)).encode())


def test_the_parsed_quote_is_what_the_signed_bytes_say() -> None:
    # `quote` of a SimulatedEvidence that somebody made by hand counts for nothing: only `signed` is encoded.
    lying = replace(SIGNED, quote=replace(SIGNED.quote, debug=True))
    assert parse_evidence(lying.encode()).quote.debug is False


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        parse_evidence(data)
    with pytest.raises(EvidenceError):
        parse_evidence(replace(SIGNED, signed=data).encode())
