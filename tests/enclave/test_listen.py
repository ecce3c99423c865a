from __future__ import annotations

import socket

import pytest

from mitai_enclave.errors import ConfigurationError
from mitai_enclave.listen import bound_sending, listen, listen_apart, url_of


def test_a_port_that_is_taken_is_reported_with_the_way_on() -> None:
    with listen("127.0.0.1", 0) as taken:
        with pytest.raises(ConfigurationError) as caught:
            listen("127.0.0.1", taken.getsockname()[1])
        assert "--port" in caught.value.hint
    with pytest.raises(ConfigurationError):
        listen("localhost.example", 0)


def test_urls_have_brackets_where_they_need_them() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_each_worker_has_a_socket_of_its_own_on_one_port() -> None:
    listeners = listen_apart("127.0.0.1", 0, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("shared", [False, True])
def test_threat_44_a_port_is_not_shared_with_a_stranger(*, shared: bool) -> None:
    """Somebody who listens there already would be dealt a part of the connections."""
    with listen("127.0.0.1", 0, shared=shared) as stranger, pytest.raises(ConfigurationError, match="in use"):
        listen_apart("127.0.0.1", stranger.getsockname()[1], 2)


def test_threat_20_accepted_connections_inherit_the_bound_on_sending() -> None:
    with listen("127.0.0.1", 0) as listener:
        bound_sending(listener, 7)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
