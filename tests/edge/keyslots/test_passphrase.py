from __future__ import annotations

import pytest

from mitai.errors import KnowledgeBaseDamaged, KnowledgeBaseError, PassphraseRefused
from mitai.formats import ARGON2_MAX_MEMORY_KIB, ARGON2_MIN_MEMORY_KIB
from mitai.keyslots.passphrase import Argon2Parameters, calibrate, derive_key, passphrase_bytes

MIB = 1024


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("正确的密码", "正确的密码"),  # simplified stays simplified: it is not folded
        ("正確的密碼", "正確的密碼"),
        ("密码\u3000一二三", "密码 一二三"),  # the ideographic space of an input method becomes a space
        ("Cafe\u0301", "Café"),  # NFC
        ("ＡＢＣ", "ＡＢＣ"),  # width is kept by OpaqueString
        ("correct horse battery staple", "correct horse battery staple"),
        ("π≠𓂀", "π≠𓂀"),
    ],
)
def test_passphrases_have_one_form(typed: str, expected: str) -> None:
    assert passphrase_bytes(typed) == expected.encode()


@pytest.mark.parametrize("typed", ["", "tab\tinside", "null\0", "\u200f", "\udcff", "line\n"])
def test_what_no_passphrase_can_hold_is_refused_without_being_quoted(typed: str) -> None:
    with pytest.raises(PassphraseRefused) as caught:
        passphrase_bytes(typed)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert not typed or typed not in str(caught.value)


def test_endless_passphrases_are_refused() -> None:
    with pytest.raises(PassphraseRefused, match="4096"):
        passphrase_bytes("a" * 4097)


def test_derivation_is_argon2id_of_rfc_9106() -> None:
    from argon2.low_level import Type, hash_secret_raw

    parameters = Argon2Parameters()
    expected = hash_secret_raw(b"pass", b"s" * 16, 3, 64 * MIB, 4, 32, Type.ID, 19)
    assert derive_key(b"pass", b"s" * 16, parameters) == expected
    assert derive_key(b"pass", b"t" * 16, parameters) != expected


@pytest.mark.parametrize(
    "values",
    [
        {"memory_kib": ARGON2_MIN_MEMORY_KIB - 1},
        {"memory_kib": ARGON2_MAX_MEMORY_KIB + 1},
        {"time_cost": 2},
        {"time_cost": 17},
        {"parallelism": 0},
        {"parallelism": 17},
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_derived(values: dict[str, int]) -> None:
    with pytest.raises(KnowledgeBaseDamaged, match="out of range"):
        Argon2Parameters(**values)


@pytest.mark.parametrize(
    ("seconds_at_floor", "memory_mib"),
    [(0.9, 64), (0.5, 64), (0.3, 128), (0.13, 256), (0.04, 1024), (0.0001, 1024)],
)
def test_calibration_doubles_memory_until_half_a_second(seconds_at_floor: float, memory_mib: int) -> None:
    now = 0.0

    def derive(_: bytes, __: bytes, parameters: Argon2Parameters) -> bytes:
        nonlocal now
        now += seconds_at_floor * parameters.memory_kib / ARGON2_MIN_MEMORY_KIB
        return b""

    chosen = calibrate(derive=derive, clock=lambda: now)
    assert (chosen.memory_kib, chosen.time_cost, chosen.parallelism) == (memory_mib * MIB, 3, 4)


def test_calibration_takes_no_more_memory_than_the_machine_gives() -> None:
    def derive(_: bytes, __: bytes, parameters: Argon2Parameters) -> bytes:
        if parameters.memory_kib > 256 * MIB:
            raise KnowledgeBaseError("no memory")
        return b""

    assert calibrate(derive=derive, clock=lambda: 0.0).memory_kib == 256 * MIB
