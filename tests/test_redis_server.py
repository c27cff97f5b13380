"""A Redis of a test is its own, whoever else runs tests on this computer."""

import pytest

from tests.redis_server import RedisServer


def test_a_port_that_another_has_taken_is_not_taken_for_ones_own() -> None:
    """Two fleets on one computer: one's node was killed, and the other's took its port before it was back.

    Its start found an answer at once and went on with a Redis of somebody else.
    """
    with RedisServer() as others, pytest.raises(RuntimeError, match="does not start"):
        RedisServer(port=others.port).start()


def test_a_server_comes_back_where_it_was() -> None:
    """With the same name, and empty."""
    with RedisServer() as server:
        server.command("SET", "a", "b")
        server.stop()
        server.start()

        assert server.text("a") is None
