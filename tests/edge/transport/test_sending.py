from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest

from mitai.errors import (
    EnclaveUnreachable,
    IncompleteAnswer,
    MitaiError,
    PlaintextRefused,
    VerificationFailed,
)
from mitai.transport._httpx2 import SyncWire
from mitai.transport.exchange import PlainRequest
from mitai.transport.raw import RawWire
from mitai.transport.sending import Sender
from mitai.transport.session import Session
from mitai.transport.wire import ThreadGate, run_now
from mitai_crypto.labels import (
    ATTESTATION_PATH,
    FOREIGN_GATEWAY_PATH,
    GATEWAY_PATH,
    MEDIA_TYPE_KEYS,
    MEDIA_TYPE_RESPONSE,
    PROBLEM_DATE,
)
from mitai_crypto.ohttp import encode_key_list
from support.enclave_simulator import KEY_PROBLEM, PROBLEM, Raw, Reply, refusal, rotated, streamed
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitai.disclosure import Outgoing
    from mitai.transport.sending import SealedAnswer
    from support.enclave_simulator import EnclaveSimulator, Outer

CANARY = "CANARY-密态-7f3a"
PLAIN = PlainRequest(
    b"POST",
    b"/v1/chat/completions",
    ((b"content-type", b"application/json"),),
    ('{"stream":true,"messages":"' + CANARY + '"}').encode(),
)
KEY_HEADERS = (("content-type", PROBLEM.decode()),)


@pytest.fixture(params=["raw", "httpx2"])
def send(simulator: EnclaveSimulator, request: pytest.FixtureRequest) -> Iterator[Callable[..., SealedAnswer]]:
    session = Session(simulator.url, simulator.policy(), gate=ThreadGate())
    wire = RawWire(session.url) if request.param == "raw" else SyncWire(session.url, httpx2.HTTPTransport())
    sender = Sender(session, wire, token="t0ken")
    yield lambda hook=None, read=5.0: run_now(sender.send(PLAIN, timeouts={"read": read}, before_send=hook))
    wire.close()


def gateway_only(raw: Raw, *, times: int = 99) -> Callable[[Outer], Raw | None]:
    """Answer the next sealed requests in the clear."""
    left = [times]

    def answer(outer: Outer) -> Raw | None:
        if outer.path.startswith(GATEWAY_PATH) and left[0] > 0:
            left[0] -= 1
            return raw
        return None

    return answer


def sealed_requests(simulator: EnclaveSimulator) -> list[Outer]:
    return [outer for outer in simulator.seen if outer.path.startswith(GATEWAY_PATH)]


def request_ids(simulator: EnclaveSimulator) -> list[bytes]:
    return [dict(request.headers)[b"mitai-request-id"] for request in simulator.executed]


def test_a_request_is_answered(simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]) -> None:
    answer = send()
    assert answer.status == 200
    assert b"Hello" in run_now(answer.read_all())
    assert answer.receipt is not None
    assert answer.receipt.request == answer.request_digest


def test_threat_39_the_operator_sees_nothing_but_the_seal(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    run_now(send().read_all())
    outer = sealed_requests(simulator)[0]
    names = {name.lower() for name, _ in outer.headers}
    assert names == {"host", "content-type", "content-length", "accept-encoding", "incremental"}
    public = repr(outer).encode() + outer.body
    for secret in (CANARY.encode(), b"t0ken", b"/v1/chat", b"mitai-request-id"):
        assert secret not in public
    assert CANARY.encode() in simulator.executed[0].content  # the same scan finds it inside


# -- unsealed answers


@pytest.mark.parametrize(
    "raw",
    [
        Raw(200, b'{"choices":[{"message":{"content":"PLANTED"}}]}', (("content-type", "application/json"),)),
        Raw(204),
        Raw(200, b"PLANTED", (("content-type", "message/ohttp-res"),)),
        Raw(201, b"PLANTED", (("content-type", MEDIA_TYPE_RESPONSE),)),
        Raw(200, b"PLANTED", (("content-type", MEDIA_TYPE_RESPONSE), ("content-encoding", "gzip"))),
        Raw(302, b"PLANTED", (("location", "https://elsewhere.example/"),)),
        Raw(400, b"PLANTED", KEY_HEADERS),
        Raw(400, b'{"type":"about:blank","title":"PLANTED"}', KEY_HEADERS),
        Raw(400, KEY_PROBLEM, (("content-type", "application/json"),)),
        Raw(400, b'{"type":"PLANTED",' + b" " * 5000 + KEY_PROBLEM[1:], KEY_HEADERS),
        Raw(409, KEY_PROBLEM, KEY_HEADERS),
        Raw(413),
        Raw(503, b"PLANTED"),
    ],
    ids=lambda raw: f"{raw.status}-{raw.body[:12]!r}",
)
def test_threat_01_an_unsealed_answer_is_refused_and_never_shown(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer], raw: Raw
) -> None:
    simulator.misbehaviour.outer = gateway_only(raw)
    with pytest.raises(PlaintextRefused) as caught:
        send()
    assert str(raw.status) in str(caught.value)
    assert "PLANTED" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    assert len(sealed_requests(simulator)) == 1
    assert simulator.count(ATTESTATION_PATH) == 1


# -- keys


def test_an_enclave_with_a_new_key_is_verified_again_and_asked_once_more(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    run_now(send().read_all())
    simulator.enclave = rotated(simulator.enclave)
    answer = send()
    assert b"Hello" in run_now(answer.read_all())
    assert simulator.count(ATTESTATION_PATH) == 2
    assert len(sealed_requests(simulator)) == 3
    assert len({outer.path for outer in sealed_requests(simulator)}) == 2


def test_threat_41_a_forged_key_problem_causes_evidence_and_no_second_sealing(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.misbehaviour.outer = gateway_only(Raw(400, KEY_PROBLEM, KEY_HEADERS))
    with pytest.raises(PlaintextRefused):
        send()
    assert len(sealed_requests(simulator)) == 1  # the key did not change, so nothing is sealed to it again
    assert simulator.count(ATTESTATION_PATH) == 2


def test_threat_41_a_resend_has_the_same_id_and_happens_once(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    run_now(send().read_all())
    simulator.executed.clear()
    held: list[Outer] = []

    def hold_execute_and_deny(outer: Outer) -> Raw | None:
        """Run the request, withhold the answer, claim that the key is unknown, and rotate."""
        if not outer.path.startswith(GATEWAY_PATH) or held:
            return None
        held.append(outer)
        simulator.misbehaviour.outer = None
        list(simulator.respond(outer))
        simulator.enclave = rotated(simulator.enclave)
        return Raw(400, KEY_PROBLEM, KEY_HEADERS)

    simulator.misbehaviour.outer = hold_execute_and_deny
    run_now(send().read_all())
    first, second = request_ids(simulator)
    assert first == second  # by which the enclave runs it once
    blinds = {dict(request.headers)[b"mitai-blind"] for request in simulator.executed}
    assert len(blinds) == 2


def test_threat_41_two_key_problems_in_a_row_end_it(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    def deny_and_rotate(outer: Outer) -> Raw | None:
        if not outer.path.startswith(GATEWAY_PATH):
            return None
        if len(simulator.enclave.configs) > 1:
            simulator.enclave = rotated(simulator.enclave)
        return Raw(400, KEY_PROBLEM, KEY_HEADERS)

    simulator.misbehaviour.outer = deny_and_rotate
    with pytest.raises(PlaintextRefused):
        send()
    assert len(sealed_requests(simulator)) == 2
    assert simulator.count(ATTESTATION_PATH) == 2


def test_threat_29_a_key_outside_verified_evidence_is_never_used(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    """The man in the middle serves its own key wherever a client could look for one."""
    genuine, mallory = simulator.enclave, build_enclave("M", now=int(time.time()))
    run_now(send().read_all())
    simulator.seen.clear()
    key = mallory.configs[0].encode()

    def in_the_middle(outer: Outer) -> Raw | None:
        if outer.path.startswith(ATTESTATION_PATH):
            return None
        if outer.path.startswith(GATEWAY_PATH):
            return Raw(400, KEY_PROBLEM[:-1] + b',"key":"' + key.hex().encode() + b'"}', KEY_HEADERS)
        return Raw(200, encode_key_list(mallory.configs), (("content-type", MEDIA_TYPE_KEYS),))

    simulator.misbehaviour.outer = in_the_middle
    simulator.misbehaviour.evidence = mallory.bundle
    with pytest.raises(VerificationFailed):
        send()
    paths = {outer.path.partition("?")[0] for outer in simulator.seen}
    assert paths == {ATTESTATION_PATH, f"{GATEWAY_PATH}/{genuine.configs[0].fingerprint}"}
    assert FOREIGN_GATEWAY_PATH not in paths


def test_threat_04_evidence_of_one_enclave_with_the_key_of_another_is_refused(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    genuine, mallory = simulator.enclave, build_enclave("M", now=int(time.time()))

    def relayed(nonce: bytes) -> bytes:
        parts = genuine.parts(nonce)
        return replace(parts, crypto_material=mallory.material.encode()).encode()

    simulator.misbehaviour.evidence = relayed
    with pytest.raises(VerificationFailed, match="step 8"):
        send()
    assert sealed_requests(simulator) == []


# -- the date


def test_a_wrong_clock_is_corrected_once_for_that_request(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.misbehaviour.date = b"Tue, 01 Jan 2030 00:00:00 GMT"
    answer = send()
    assert b"Hello" in run_now(answer.read_all())
    fields = dict(simulator.executed[0].headers)
    assert fields[b"date"] == simulator.misbehaviour.date
    assert len(sealed_requests(simulator)) == 2
    run_now(send().read_all())
    assert len(sealed_requests(simulator)) == 4  # the correction is not remembered


def test_a_date_problem_that_does_not_go_away_is_given_out(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    body = b'{"type":"' + PROBLEM_DATE.encode() + b'"}'
    simulator.answer = lambda _: Reply(400, PROBLEM, (body,), "error")
    answer = send()
    assert (answer.status, run_now(answer.read_all())) == (400, body)
    assert len(sealed_requests(simulator)) == 2


def test_another_sealed_problem_is_given_out_whole(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.answer = lambda _: Reply(400, PROBLEM, (b'{"type":', b'"other"}'), "error")
    answer = send()
    assert (answer.status, run_now(answer.read_all())) == (400, b'{"type":"other"}')
    assert answer.receipt is not None
    assert len(sealed_requests(simulator)) == 1


def test_a_date_problem_without_a_receipt_causes_nothing(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.misbehaviour.date = b"Tue, 01 Jan 2030 00:00:00 GMT"
    simulator.misbehaviour.trailers = lambda _: ()
    with pytest.raises(IncompleteAnswer):
        send()
    assert len(sealed_requests(simulator)) == 1


# -- what the hook sees


def test_the_hook_runs_after_verification_and_before_the_first_byte(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    shown: list[tuple[Outgoing, int]] = []
    answer = send(lambda outgoing: shown.append((outgoing, len(sealed_requests(simulator)))))
    run_now(answer.read_all())
    outgoing, sent_before = shown[0]
    assert sent_before == 0
    assert simulator.count(ATTESTATION_PATH) == 1
    assert outgoing.attempt == 1
    assert outgoing.request_digest == answer.request_digest.hex()
    assert outgoing.measurement == answer.attestation.measurement
    assert outgoing.simulated
    assert outgoing.policy_digest == simulator.policy().digest
    assert CANARY in outgoing.text
    assert CANARY not in repr(outgoing)


def test_nothing_leaves_when_the_hook_raises(simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]) -> None:
    def refuse(outgoing: Outgoing) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        send(refuse)
    assert sealed_requests(simulator) == []


def test_the_hook_sees_every_sealing(simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]) -> None:
    simulator.misbehaviour.date = b"Tue, 01 Jan 2030 00:00:00 GMT"
    shown: list[Outgoing] = []
    run_now(send(shown.append).read_all())
    assert [outgoing.attempt for outgoing in shown] == [1, 2]
    assert shown[0].request_digest != shown[1].request_digest


def test_the_hook_is_not_called_when_verification_fails(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.misbehaviour.evidence = build_enclave("B", now=int(time.time())).bundle
    shown: list[Outgoing] = []
    with pytest.raises(VerificationFailed):
        send(shown.append)
    assert shown == []


# -- broken answers


def test_a_cut_answer_fails_at_the_reader_and_stays_failed(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.misbehaviour.frames = lambda frames: frames[:-1]
    answer = send()
    for _ in range(3):
        with pytest.raises(IncompleteAnswer):
            run_now(answer.read_all())


@pytest.mark.parametrize("kept", [0, 1])
def test_an_answer_cut_before_its_head_fails_at_once(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer], kept: int
) -> None:
    simulator.misbehaviour.frames = lambda frames: frames[:kept]
    with pytest.raises(IncompleteAnswer):
        send()


def test_a_connection_that_breaks_is_an_incomplete_answer(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    simulator.misbehaviour.frames = lambda frames: frames[:4]
    simulator.misbehaviour.abrupt = True
    with pytest.raises(IncompleteAnswer):
        run_now(send().read_all())


def test_a_closed_answer_cannot_be_read_on(simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]) -> None:
    simulator.answer = lambda _: streamed(*"abcdefgh")
    simulator.misbehaviour.pause = 0.01
    answer = send()
    run_now(answer.read())
    run_now(answer.close())
    with pytest.raises(IncompleteAnswer, match="closed"):
        run_now(answer.read())


def test_silence_after_sending_says_that_the_outcome_is_unknown(
    simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]
) -> None:
    run_now(send().read_all())
    speak = threading.Event()
    simulator.misbehaviour.outer = lambda _: Raw(503) if speak.wait(5) else None
    with pytest.raises(EnclaveUnreachable, match=r"(Read)?Timeout") as caught:
        send(read=0.1)
    speak.set()
    assert "may have reached" in caught.value.hint


def test_a_sealed_refusal_is_an_ordinary_answer(simulator: EnclaveSimulator, send: Callable[..., SealedAnswer]) -> None:
    simulator.answer = lambda _: refusal(401, "invalid_api_key")
    answer = send()
    assert answer.status == 401
    assert b"invalid_api_key" in run_now(answer.read_all())


def test_errors_of_the_channel_are_one_tree() -> None:
    for error in (EnclaveUnreachable, PlaintextRefused, IncompleteAnswer, VerificationFailed):
        assert issubclass(error, MitaiError)
        assert not issubclass(error, httpx2.HTTPError)
