from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource
from mitai.hardening import harden_process
print(harden_process(), harden_process() == harden_process())
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_core_dumps_are_off_and_the_process_is_not_dumpable() -> None:
    result = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    first, second = result.stdout.splitlines()
    assert first == "Hardening(core_dumps_off=True, not_dumpable=True) True"
    assert second == "(0, 0) 0"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_opening_a_knowledge_base_hardens_the_process() -> None:
    probe = """
import ctypes, pathlib
from mitai.errors import KnowledgeBaseNotFound
from mitai.knowledge_base import KnowledgeBase
try:
    KnowledgeBase.open(pathlib.Path("/nowhere"), passphrase="x")
except KnowledgeBaseNotFound:
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stdout == "0\n"
