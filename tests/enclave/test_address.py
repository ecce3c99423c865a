from __future__ import annotations

from pathlib import Path

import pytest

from mitai_enclave.address import LoopbackAddress, UnixAddress, parse_upstream
from mitai_enclave.errors import ConfigurationError


def test_what_may_be_named() -> None:
    assert parse_upstream("unix:/run/engine.sock") == UnixAddress(Path("/run/engine.sock"))
    assert parse_upstream("http://127.0.0.1:8000") == LoopbackAddress("127.0.0.1", 8000)
    assert parse_upstream("http://[::1]:8000/") == LoopbackAddress("::1", 8000)


@pytest.mark.parametrize(
    "text",
    [
        "", "unix:", "unix:relative", "unix:/a/../b", "unix:/" + "x" * 120, "http://localhost:8000",
        "http://127.0.0.1", "http://127.0.0.1:0", "http://127.0.0.1:99999", "http://127.0.0.1:80/v1",
        "http://127.0.0.2:80", "http://0.0.0.0:80", "http://10.0.0.1:80", "http://[::]:80", "http://example.com:80",
        "https://127.0.0.1:80", "http://user@127.0.0.1:80", "http://127.0.0.1:80@example.com", "http://127.1:80",
        "http://2130706433:80", "http://[::ffff:127.0.0.1]:80", "http://127.0.0.1:80?x", "http://127.0.0.1:80#",
        "HTTP://127.0.0.1:80", " http://127.0.0.1:80", "http://127.0.0.1:80\n", "tcp://127.0.0.1:80",
    ],
)  # fmt: skip
def test_threat_44_every_other_form_of_upstream_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_upstream(text)
    assert caught.value.hint
