from __future__ import annotations

import contextlib
import copy
import pickle
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto import kem
from mitai_crypto.errors import HpkeError
from mitai_crypto.kem import Kem, generate_private_key, load_private_key, load_public_key

if TYPE_CHECKING:
    from collections.abc import Callable

P = 2**255 - 19
ORDER_8 = (
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
)
# Every encoding, canonical or not, of a point whose order divides the cofactor.
LOW_ORDER_POINTS = [bytes.fromhex(point) for point in ORDER_8] + [
    number.to_bytes(32, "little") for number in (0, 1, P - 1, P, P + 1)
]


def _set_top_bit(point: bytes) -> bytes:
    return point[:31] + bytes([point[31] | 0x80])


@pytest.mark.parametrize("which", Kem)
def test_both_sides_get_the_same_secret_and_every_run_another_one(which: Kem) -> None:
    private = generate_private_key(which)
    public = load_public_key(which, private.public_bytes)
    enc, secret = public.encapsulate()
    assert private.decapsulate(enc) == secret
    assert (len(enc), len(private.public_bytes), len(secret)) == (which.enc_bytes, which.public_key_bytes, 32)
    again_enc, again = public.encapsulate()
    assert again_enc != enc
    assert again != secret


@pytest.mark.parametrize("which", Kem)
def test_loading_the_same_bytes_gives_the_same_key(which: Kem) -> None:
    assert load_private_key(which, b"s" * 32).public_bytes == load_private_key(which, b"s" * 32).public_bytes
    assert generate_private_key(which).public_bytes != generate_private_key(which).public_bytes


@pytest.mark.parametrize("point", [*LOW_ORDER_POINTS, *map(_set_top_bit, LOW_ORDER_POINTS)], ids=bytes.hex)
def test_threat_13_low_order_points(point: bytes) -> None:
    for which in Kem:
        private = generate_private_key(which)
        enc, _ = load_public_key(which, private.public_bytes).encapsulate()
        with pytest.raises(HpkeError, match=kem.INVALID):
            private.decapsulate(enc[:-32] + point)
        with pytest.raises(HpkeError, match=kem.INVALID):
            load_public_key(which, private.public_bytes[:-32] + point).encapsulate()


def test_mlkem_rejects_implicitly() -> None:
    private = generate_private_key(Kem.MLKEM768_X25519)
    enc, secret = load_public_key(private.kem, private.public_bytes).encapsulate()
    tampered = bytes([enc[0] ^ 1]) + enc[1:]
    assert private.decapsulate(tampered) != secret
    assert private.decapsulate(tampered) == private.decapsulate(tampered)


def test_every_part_of_the_hybrid_goes_into_the_secret() -> None:
    """The combiner binds both secrets and the whole X25519 exchange."""
    parts = [bytes([number]) * 32 for number in range(4)]
    secrets = {kem._hybrid_secret(*parts)}
    for index in range(4):
        changed = [*parts[:index], b"\xff" * 32, *parts[index + 1 :]]
        secrets.add(kem._hybrid_secret(*changed))
    assert len(secrets) == 5


@pytest.mark.parametrize("which", Kem)
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_lengths_are_refused(which: Kem, change: int) -> None:
    private = generate_private_key(which)
    attempts: list[Callable[[], object]] = [
        lambda: private.decapsulate(bytes(which.enc_bytes + change)),
        lambda: load_public_key(which, bytes(which.public_key_bytes + change)),
        lambda: load_private_key(which, bytes(32 + change)),
    ]
    for attempt in attempts:
        with pytest.raises(HpkeError, match=kem.INVALID):
            attempt()


def test_an_unreduced_mlkem_key_is_refused() -> None:
    with pytest.raises(HpkeError, match=kem.INVALID):
        load_public_key(Kem.MLKEM768_X25519, b"\xff" * 1216)


@given(raw=st.binary(max_size=64) | st.binary(min_size=1120, max_size=1120) | st.binary(min_size=1216, max_size=1216))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_our_error(raw: bytes) -> None:
    for which in Kem:
        private = load_private_key(which, b"s" * 32)
        for attempt in (
            private.decapsulate,
            lambda data, which=which: load_public_key(which, data).encapsulate(),
        ):
            with contextlib.suppress(HpkeError):
                attempt(raw)


@pytest.mark.parametrize("which", Kem)
def test_threat_38_a_private_key_does_not_leave_the_process(which: Kem) -> None:
    private = load_private_key(which, b"s" * 32)
    assert repr(private) == f"<PrivateKey {which.name}>"
    public_names = {name for name in dir(private) if not name.startswith("_")}
    assert public_names == {"decapsulate", "kem", "public_bytes"}
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(private)


def test_a_public_key_shows_its_kem() -> None:
    assert repr(load_public_key(Kem.X25519, bytes(32))) == "<PublicKey X25519>"
    assert copy.copy(load_public_key(Kem.X25519, b"k" * 32)).public_bytes == b"k" * 32


def test_a_backend_without_mlkem_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: bytes) -> object:
        raise UnsupportedAlgorithm("no ML-KEM")

    monkeypatch.setattr(mlkem.MLKEM768PrivateKey, "from_seed_bytes", unsupported)
    monkeypatch.setattr(mlkem.MLKEM768PublicKey, "from_public_bytes", unsupported)
    with pytest.raises(HpkeError, match="no ML-KEM") as private:
        generate_private_key(Kem.MLKEM768_X25519)
    with pytest.raises(HpkeError, match="no ML-KEM"):
        load_public_key(Kem.MLKEM768_X25519, bytes(1216))
    assert "x25519" in private.value.hint


def test_the_backend_itself_refuses_a_zero_result() -> None:
    """Our own zero check is the backend's: this fails if a new backend stops refusing."""
    with pytest.raises(ValueError, match="shared key"):
        x25519.X25519PrivateKey.generate().exchange(x25519.X25519PublicKey.from_public_bytes(bytes(32)))
