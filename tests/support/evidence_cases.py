"""One failure a case: what the vectors in tests/crypto/vectors/evidence are made from.

`python tests/crypto/vectors/make_evidence.py` writes them; a test compares the files with this module.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_crypto.crypto_material import PublishedKey
from mitai_crypto.evidence import REGISTERS, EvidenceBundle, TeeKind
from mitai_crypto.policy import KeySuite, Reference, TrustPolicy
from mitai_crypto.simulated_quote import signed_quote
from mitai_sim.endorse import make_collateral, make_platform, make_root
from support.evidence_builder import NONCE, NOW, BuiltEnclave, build_enclave, seeded

FAIL, UNCHECKED = "fail", "not checked"
BASELINE = dict.fromkeys(range(1, 14), "pass") | {9: UNCHECKED, 12: UNCHECKED, 13: UNCHECKED}
AFTER_CHAIN = dict.fromkeys((4, 5, 6, 7, 8, 10, 11), UNCHECKED)
AFTER_SIGNATURE = dict.fromkeys((5, 6, 7, 8, 10, 11), UNCHECKED)
AFTER_BINDING = dict.fromkeys((10, 11), UNCHECKED)
NOTHING_READ = dict.fromkeys(range(2, 14), UNCHECKED)


@dataclass(frozen=True)
class Case:
    """A bundle and a policy that do not go together, and where exactly that shows."""

    comment: str
    bundle: bytes
    policy: TrustPolicy
    changed: dict[int, str]
    nonce: bytes = NONCE
    now: int = NOW

    @property
    def outcomes(self) -> dict[int, str]:
        """The expected outcome of every step."""
        return BASELINE | self.changed

    def encode(self) -> str:
        """Write the case as a vector file."""
        return (
            json.dumps(
                {
                    "comment": self.comment,
                    "nonce": self.nonce.hex(),
                    "now": self.now,
                    "policy": self.policy.encode(),
                    "bundle": self.bundle.decode(),
                    "steps": self.outcomes,
                },
                ensure_ascii=False,
                indent=1,
            )
            + "\n"
        )


def all_cases() -> dict[str, Case]:
    """Give every case by the name of its failure."""
    enclave, other = build_enclave("A"), build_enclave("B")
    cases = {
        "ok": Case("nothing is wrong", enclave.bundle(NONCE), enclave.policy(), {}),
        **_parse(enclave),
        **_kind(enclave),
        **_chain(enclave, other),
        **_signature(enclave, other),
        **_tcb(enclave),
        **_debug_and_measurement(enclave),
        **_binding(enclave, other),
        **_devices(enclave),
        **_keys(enclave),
        **_workload(enclave),
        **_by_policy(enclave),
    }
    return {name: cases[name] for name in sorted(cases)}


def _parse(enclave: BuiltEnclave) -> dict[str, Case]:
    good, policy = enclave.parts(NONCE), enclave.policy()
    text = good.encode()
    material = enclave.material.encode()

    def rebound(data: bytes) -> bytes:
        return enclave.bundle(NONCE, material=data)

    unread = {1: FAIL, 2: UNCHECKED, 10: UNCHECKED, 11: UNCHECKED}
    nothing = {1: FAIL, **NOTHING_READ}
    repeated = replace(enclave.material, keys=(enclave.material.keys[0],) * 2).encode()
    no_quote = {1: FAIL, **dict.fromkeys((4, 5, 6, 7, 8, 10, 11), UNCHECKED)}
    return {
        "bundle_trailing_bytes": Case("one brace too many", text + b"}", policy, nothing),
        "bundle_unknown_field": Case(
            "a field nobody knows",
            text.replace(b'{"', b'{"extra":1,"', 1),
            policy,
            nothing,
        ),
        "bundle_duplicate_field": Case(
            "tee occurs twice",
            text.replace(b'{"', b'{"tee":"tdx","', 1),
            policy,
            nothing,
        ),
        "bundle_unknown_kind": Case("tee is sgx", text.replace(b'"simulated"', b'"sgx"', 1), policy, nothing),
        "bundle_unknown_version": Case("v is 2", text.replace(b'"v":1', b'"v":2', 1), policy, nothing),
        "material_not_canonical": Case("a space, though bound", rebound(material + b" "), policy, unread),
        "material_unknown_field": Case(
            "a field nobody knows, though bound",
            rebound(material.replace(b'{"', b'{"aaa":1,"', 1)),
            policy,
            unread,
        ),
        "material_repeated_key_id": Case(
            "two keys with one id, though bound",
            rebound(repeated),
            policy,
            unread,
        ),
        "material_key_is_no_key": Case(
            "a key configuration cut short, though bound",
            rebound(
                replace(
                    enclave.material,
                    keys=(PublishedKey(enclave.configs[0].encode()[:-1], 0, 1),),
                ).encode(),
            ),
            policy,
            unread,
        ),
        "evidence_malformed": Case(
            "no quote to read",
            replace(good, evidence=b"{}").encode(),
            policy,
            no_quote,
        ),
        "collateral_malformed": Case(
            "no certificates to read",
            replace(good, collateral=b"{}").encode(),
            policy,
            {1: FAIL, 3: UNCHECKED, **AFTER_CHAIN},
        ),
        "collateral_certificate_is_no_certificate": Case(
            "the platform certificate is noise",
            replace(good, collateral=replace(enclave.collateral(), platform=b"noise").encode()).encode(),
            policy,
            {1: FAIL, 3: UNCHECKED, **AFTER_CHAIN},
        ),
    }


def _kind(enclave: BuiltEnclave) -> dict[str, Case]:
    hardware = replace(
        enclave.policy(),
        tee=(TeeKind.TDX,),
        root=None,
        references=(Reference("td", NOW - 60, None, dict.fromkeys(REGISTERS[TeeKind.TDX], "00" * 48)),),
    )
    production = replace(enclave.material, mode="production").encode()
    tdx = replace(enclave.parts(NONCE, material=production), tee=TeeKind.TDX)
    return {
        "simulated_under_production_policy": Case(
            "sound simulated evidence, and a policy that wants hardware",
            enclave.bundle(NONCE),
            hardware,
            {2: FAIL, 3: FAIL, **AFTER_CHAIN, 7: FAIL},
        ),
        "mode_claims_production": Case(
            "a simulated enclave calls itself production", enclave.bundle(NONCE, material=production),
            enclave.policy(), {2: FAIL},
        ),
        "tdx_not_supported": Case("hardware evidence", tdx.encode(), hardware, {3: FAIL, **AFTER_CHAIN}),
    }  # fmt: skip


def _chain(enclave: BuiltEnclave, other: BuiltEnclave) -> dict[str, Case]:
    good, policy = enclave.parts(NONCE), enclave.policy()

    def broken(comment: str, **changes: object) -> Case:
        shown = replace(good, collateral=replace(enclave.collateral(), **changes).encode())
        return Case(comment, shown.encode(), policy, {3: FAIL, **AFTER_CHAIN})

    def collateral(comment: str, **changes: object) -> Case:
        shown = replace(good, collateral=enclave.collateral(**changes).encode())
        return Case(comment, shown.encode(), policy, {3: FAIL, **AFTER_CHAIN})

    def der(**changes: object) -> bytes:
        arguments = {"chip_id": enclave.quote.chip_id, "now": NOW - 3600, **changes}
        platform = make_platform(enclave.root, enclave.platform_key.public_key(), **arguments)
        return make_collateral(enclave.root, platform, now=NOW).platform

    stranger = make_root(Ed25519PrivateKey.from_private_bytes(seeded("C", "root")), now=NOW - 3600)
    foreign = make_platform(
        stranger,
        enclave.platform_key.public_key(),
        chip_id=enclave.quote.chip_id,
        now=NOW - 3600,
    )
    return {
        "root_not_pinned": Case(
            "another machine's sound evidence",
            other.bundle(NONCE),
            policy,
            {3: FAIL, **AFTER_CHAIN},
        ),
        "platform_signed_by_other_root": broken(
            "a certificate of a root with the same name",
            platform=make_collateral(stranger, foreign, now=NOW).platform,
        ),
        "platform_is_root": broken("the root's own certificate as platform", platform=enclave.root.der),
        "platform_expired": broken("a certificate that is over", platform=der(lifetime=3600)),
        "platform_not_yet_valid": broken("a certificate of tomorrow", platform=der(now=NOW + 86_400)),
        "platform_without_chip_id": broken("no hex in the serial number", platform=der(chip_id="chip")),
        "platform_revoked": collateral("on the revocation list", revoked=[enclave.platform.serial_number]),
        "crl_expired": broken(
            "a revocation list that is over",
            crl=enclave.collateral(now=NOW - 86_400, lifetime=86_400).crl,
        ),
        "crl_from_the_future": broken(
            "a revocation list of tomorrow",
            crl=enclave.collateral(now=NOW + 86_400).crl,
        ),
        "crl_of_other_root": broken("a revocation list of another root", crl=other.collateral().crl),
    }


def _signature(enclave: BuiltEnclave, other: BuiltEnclave) -> dict[str, Case]:
    good, policy = enclave.parts(NONCE), enclave.policy()
    signed = enclave.sign(replace(enclave.quote, report_data=_bound(good)))
    changed = {4: FAIL, **AFTER_SIGNATURE}

    def shown(comment: str, **changes: object) -> Case:
        return Case(
            comment,
            replace(good, evidence=replace(signed, **changes).encode()).encode(),
            policy,
            changed,
        )

    return {
        "quote_signature_bit_flipped": shown(
            "one bit of the signature",
            signature=bytes([signed.signature[0] ^ 1]) + signed.signature[1:],
        ),
        "quote_signed_by_other_platform": shown(
            "another platform's key",
            signature=other.platform_key.sign(signed_quote(signed.signed)),
        ),
        "quote_signed_without_label": shown(
            "signed for no purpose",
            signature=enclave.platform_key.sign(signed.signed),
        ),
        "quote_changed_after_signing": shown(
            "debug hidden after signing",
            signature=enclave.sign(replace(signed.quote, debug=True)).signature,
        ),
    }


def _tcb(enclave: BuiltEnclave) -> dict[str, Case]:
    good, policy = enclave.parts(NONCE), enclave.policy()

    def collateral(comment: str, **changes: object) -> Case:
        shown = replace(good, collateral=enclave.collateral(**changes).encode())
        return Case(comment, shown.encode(), policy, {5: FAIL})

    def statement(comment: str, source: BuiltEnclave, **changes: object) -> Case:
        spoiled = source.collateral(**changes)
        shown = replace(enclave.collateral(), tcb=spoiled.tcb, tcb_signature=spoiled.tcb_signature)
        return Case(comment, replace(good, collateral=shown.encode()).encode(), policy, {5: FAIL})

    return {
        "tcb_configuration_needed": collateral(
            "a status that is not good enough",
            levels={1: "ConfigurationNeeded"},
        ),
        "tcb_hardening_needed": collateral(
            "a status that is not good enough",
            levels={1: "SWHardeningNeeded"},
        ),
        "tcb_out_of_date": collateral(
            "a status that is not good enough",
            levels={2: "UpToDate", 1: "OutOfDate"},
        ),
        "tcb_revoked": collateral("a status that is not good enough", levels={1: "Revoked"}),
        "tcb_version_unknown": collateral("a version that nobody vouches for", levels={2: "UpToDate"}),
        "tcb_status_expired": statement("a status that is over", enclave, now=NOW - 86_400, lifetime=86_400),
        "tcb_status_from_the_future": statement("a status of tomorrow", enclave, now=NOW + 86_400),
        "tcb_status_of_other_root": statement("a status of another root", build_enclave("B")),
        "tcb_self_reported": Case(
            "the quote claims a higher version than its certificate",
            replace(
                enclave.parts(NONCE, tcb=2),
                collateral=enclave.collateral(levels={1: "UpToDate", 2: "UpToDate"}).encode(),
            ).encode(),
            policy,
            {5: FAIL},
        ),
        "tcb_chip_id_differs": Case(
            "the quote claims another chip than its certificate",
            enclave.bundle(NONCE, chip_id="00" * 16),
            policy,
            {5: FAIL},
        ),
    }


def _debug_and_measurement(enclave: BuiltEnclave) -> dict[str, Case]:
    policy = enclave.policy()
    registers = dict(enclave.quote.registers)
    bound = _bound(enclave.parts(NONCE))
    quote = replace(enclave.quote, report_data=bound)
    unknown = {7: FAIL, 11: UNCHECKED}

    def log(comment: str, events: tuple[object, ...]) -> Case:
        signed = replace(enclave.sign(quote), events=events)
        return Case(
            comment,
            replace(enclave.parts(NONCE), evidence=signed.encode()).encode(),
            policy,
            unknown,
        )

    cases = {
        "debug": Case("memory can be read", enclave.bundle(NONCE, debug=True), policy, {6: FAIL}),
        "migratable": Case("can be moved", enclave.bundle(NONCE, migratable=True), policy, {6: FAIL}),
        "log_event_missing": log("the log leaves something out", enclave.events[:-1]),
        "log_events_reordered": log(
            "two events of one register change places",
            (*enclave.events[:3], replace(enclave.events[3], name="1"), enclave.events[3]),
        ),
        "log_event_renamed": log(
            "a file is called otherwise",
            (*enclave.events[:3], replace(enclave.events[3], name="1")),
        ),
    }
    for name in registers:
        spoiled = registers | {name: "ff" * 48}
        reference = replace(policy.references[0], registers=spoiled)
        cases[f"register_{name}_unknown"] = Case(
            f"{name} has no reference value",
            enclave.bundle(NONCE),
            replace(policy, references=(reference,)),
            unknown,
        )
    return cases


def _binding(enclave: BuiltEnclave, other: BuiltEnclave) -> dict[str, Case]:
    good, policy = enclave.parts(NONCE), enclave.policy()
    bound = _bound(good)
    changed = {8: FAIL, **AFTER_BINDING}

    def quoted(comment: str, report_data: bytes) -> Case:
        return Case(comment, enclave.bundle(NONCE, report_data=report_data), policy, changed)

    stolen = replace(
        enclave.material,
        keys=(replace(enclave.material.keys[0], config=other.configs[0].encode()),),
    ).encode()
    return {
        "nonce_stale": Case("evidence of an earlier nonce", enclave.bundle(bytes(32)), policy, changed),
        "key_of_other_enclave": Case(
            "the evidence of enclave A with a key of enclave B",
            replace(good, crypto_material=stolen).encode(),
            policy,
            changed,
        ),
        "material_of_other_enclave": Case(
            "the evidence of enclave A with all that B publishes",
            replace(good, crypto_material=other.material.encode()).encode(),
            policy,
            changed,
        ),
        "device_evidence_swapped": Case(
            "device evidence that was not there when the quote was made",
            replace(good, device_evidence=b"gpu").encode(),
            policy,
            changed,
        ),
        "report_data_half_zero": quoted("only the first 16 bytes are bound", bound[:16] + bytes(48)),
        "report_data_tail_not_zero": quoted("something in the unused half", bound[:63] + b"\x01"),
        "report_data_halves_swapped": quoted("the halves change places", bound[32:] + bound[:32]),
        "report_data_repeated": quoted("the digest twice", bound[:32] * 2),
        "report_data_zero": quoted("nothing is bound", bytes(64)),
    }


def _devices(enclave: BuiltEnclave) -> dict[str, Case]:
    policy = enclave.policy(gpu="required")
    return {
        "gpu_required_without_evidence": Case("no GPU shown", enclave.bundle(NONCE), policy, {9: FAIL}),
        "gpu_required_without_appraiser": Case(
            "GPU shown, and nothing to judge it with",
            enclave.bundle(NONCE, device_evidence=b"gpu"),
            policy,
            {9: FAIL},
        ),
    }


def _keys(enclave: BuiltEnclave) -> dict[str, Case]:
    current, following = enclave.material.keys

    def keys(comment: str, *published: PublishedKey) -> Case:
        material = replace(enclave.material, keys=published).encode()
        return Case(comment, enclave.bundle(NONCE, material=material), enclave.policy(), {10: FAIL})

    return {
        "key_lives_too_long": keys(
            "7201 seconds",
            replace(current, not_before=NOW - 600, not_after=NOW + 6601),
        ),
        "next_key_lives_too_long": keys(
            "the next key: 7201 seconds",
            current,
            replace(following, not_after=following.not_before + 7201),
        ),
        "key_expired": keys("the last second is over", replace(current, not_after=NOW)),
        "current_key_expired_next_valid": keys(
            "the next key is no stand-in",
            replace(current, not_after=NOW),
            replace(following, not_before=NOW),
        ),
        "key_not_yet_valid": keys("301 seconds ahead", replace(current, not_before=NOW + 301)),
        "key_ends_before_it_begins": keys(
            "times swapped",
            replace(current, not_before=NOW + 100, not_after=NOW + 50),
        ),
    }


def _workload(enclave: BuiltEnclave) -> dict[str, Case]:
    def policy(comment: str, **changes: object) -> Case:
        return Case(comment, enclave.bundle(NONCE), enclave.policy(**changes), {11: FAIL})

    external = replace(enclave.material, engine="external", model_digest=None).encode()
    return {
        "model_digest_differs": policy("other weights", model_digest="00" * 32),
        "model_name_differs": policy("another model's name", model_name="Qwen3-0.6B"),
        "configuration_not_listed": policy("another configuration", configuration=("00" * 32,)),
        "engine_not_accepted": Case(
            "an engine that nobody measured",
            enclave.bundle(NONCE, material=external),
            enclave.policy(),
            {11: FAIL},
        ),
        "suite_not_offered": policy("only X25519 is accepted", suites=(KeySuite.X25519,)),
    }


def _by_policy(enclave: BuiltEnclave) -> dict[str, Case]:
    reference = enclave.policy().references[0]

    def age(comment: str, **changes: int) -> Case:
        policy = enclave.policy(references=(replace(reference, **changes),))
        return Case(comment, enclave.bundle(NONCE), policy, {12: FAIL})

    return {
        "reference_expired": age("a build that is withdrawn", expires=NOW),
        "reference_from_the_future": age("a build of tomorrow", issued=NOW + 86_400),
        "chip_not_listed": Case(
            "another chip",
            enclave.bundle(NONCE),
            enclave.policy(chips=("00" * 16,)),
            {13: FAIL},
        ),
    }


def _bound(bundle: EvidenceBundle) -> bytes:
    quote = json.loads(base64.b64decode(json.loads(bundle.evidence)["quote"]))
    return bytes.fromhex(quote["report_data"])
