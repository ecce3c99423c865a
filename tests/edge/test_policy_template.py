from __future__ import annotations

from dataclasses import replace

from mitai.policy_template import explain_policy
from mitai_crypto.evidence import REGISTERS, TeeKind
from mitai_crypto.policy import Reference, parse_policy
from support.evidence_builder import NOW, build_enclave


def test_every_field_is_explained_and_the_policy_is_the_same() -> None:
    for policy in (
        build_enclave().policy(name="繁體 简体 English"),
        replace(
            build_enclave().policy(),
            tee=(TeeKind.TDX,),
            root=None,
            chips=("ab",),
            trust_on_first_use=True,
            references=(Reference("x", NOW, None, dict.fromkeys(REGISTERS[TeeKind.TDX], "11" * 48)),),
        ),
    ):
        text = explain_policy(policy)
        assert parse_policy(text.encode()) == policy
        lines = text.splitlines()
        for number, line in enumerate(lines):
            top = line.startswith("[") or " = " in line
            within = number and lines[number - 1].startswith("[")
            if top and not line.startswith(("version", "[reference.registers]")) and not within:
                inside = any(earlier.startswith("[") for earlier in lines[:number])
                assert lines[number - 1].startswith("# ") or inside, line
        assert text.count("# ") >= 10
