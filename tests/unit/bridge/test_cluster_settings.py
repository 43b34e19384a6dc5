"""Settings of several nodes: what is taken, what is refused and in which words, and the secret that nodes share."""

import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.cluster.redis import connect
from bridge.secret import fingerprint, load_secret
from bridge.settings import Settings, SettingsError, load_settings

SHARED = {"journal": {"url": "postgresql://sidetone@db.example/sidetone"}}


def settings(**more: Any) -> Settings:
    """Nothing but these."""
    return Settings(**{"data": Path("unused"), **more})


def test_one_node_alone_is_what_nobody_has_to_set() -> None:
    """Without settings there is no Redis, the lease is 10 s, and the node is called as its host."""
    cluster = settings().cluster

    assert (cluster.url, cluster.lease, cluster.namespace) == (None, 10.0, "sidetone")
    assert cluster.node_name == socket.gethostname()


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis.example:6379/0",
        "rediss://user:word@redis.example/1",
        "redis+sentinel://s1.example,s2.example:26380/main/0",
        "unix:///run/redis/redis.sock",
        "rediss://user:p%40ss%2Fword%23@redis.example:6380/0?ssl_cert_reqs=none&ssl_check_hostname=false",
        "rediss+sentinel://user:word@s1.example,[2001:db8::1]:26380/main?sentinel_username=u&sentinel_password=guard",
        "redis+cluster://user:word@r1.example,r2.example:6380",
        "rediss+cluster://r1.example/0?ssl_check_hostname=no",
        "redis://redis.example?db=2&client_name=sidetone",
    ],
)
def test_every_address_that_is_taken_can_be_connected_to(url: str) -> None:
    """What the settings take the client takes as well."""
    taken = settings(cluster={"url": url, "node": "a"}, **SHARED).cluster

    assert taken.url is not None
    assert taken.node_name == "a"
    connect(taken.url.get_secret_value())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://redis.example", "write it as redis://"),
        ("redis.example:6379", "write it as redis://"),
        ("redis+ring://r1.example", "write it as redis://"),
        ("http+cluster://r1.example", "write it as redis://"),
        ("", "empty"),
        ("redis+sentinel://s1.example", "NAME is what the sentinels call the master"),
        ("redis+cluster://r1.example/3", "redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT;"),
        ("redis+cluster://r1.example,", "redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT;"),
        ("redis://r1.example,r2.example", "redis://USER:PASSWORD@HOST:PORT/DB"),
        ("redis://:se/cret@redis.example", "/ as %2F"),
        ("redis://:#secret@redis.example", "/ as %2F"),
        ("redis://user:12/secret@redis.example", "/ as %2F"),
        ("rediss://redis.example?ca=secret", "ssl_ca_certs"),
        ("redis://redis.example/0#secret", "# as %23"),
    ],
)
def test_an_address_of_something_else_is_refused(tmp_path: Path, url: str, said: str) -> None:
    """In words that say what is missing, and without a part of the address: it may be of a password."""
    file = tmp_path / "sidetone.yaml"
    file.write_text(f"journal: {{url: postgresql://db.example/sidetone}}\ncluster: {{url: '{url}'}}\n")

    with pytest.raises(SettingsError, match=r"cluster\.url") as refused:
        load_settings(file)

    assert said in str(refused.value)
    assert "cret" not in str(refused.value).replace("secret is empty", "")


def test_the_password_of_redis_may_stand_in_a_file(tmp_path: Path) -> None:
    """The address is a secret, as there is a password in it."""
    (tmp_path / "redis").write_text("rediss://:word@redis.example/0\n")

    taken = settings(cluster={"url": {"file": str(tmp_path / "redis")}}, **SHARED).cluster

    assert taken.url is not None
    assert taken.url.get_secret_value() == "rediss://:word@redis.example/0"
    assert "word" not in repr(taken)


def test_nodes_need_a_journal_that_they_can_share(tmp_path: Path) -> None:
    """A file of one machine is refused in words that say what to set."""
    file = tmp_path / "sidetone.yaml"
    file.write_text("cluster: {url: 'redis://redis.example/0'}\n")

    with pytest.raises(SettingsError, match=r"cluster\.url: .*set journal\.url to postgresql://"):
        load_settings(file)


@pytest.mark.parametrize("lease", [1.9, 61])
def test_a_lease_is_between_two_seconds_and_a_minute(lease: float) -> None:
    """Shorter, a busy machine loses its own; longer, customers wait for a node that is gone."""
    with pytest.raises(ValidationError):
        settings(cluster={"lease": lease})


def test_a_given_secret_takes_the_place_of_the_file(tmp_path: Path) -> None:
    """Nothing is written, and whoever copies the content of the file into the settings has the same secret."""
    given = load_secret(tmp_path / "data", "a secret of thirty-two characters or more")
    assert not (tmp_path / "data").exists()
    assert len(given) == 32

    made = load_secret(tmp_path / "data")
    assert load_secret(tmp_path / "elsewhere", (tmp_path / "data" / "secret").read_text().strip()) == made
    assert made != given


def test_a_short_secret_is_refused() -> None:
    """31 characters are too few."""
    with pytest.raises(ValidationError, match="at least 32"):
        settings(secret="x" * 31)


def test_a_fingerprint_tells_secrets_apart_and_nothing_else() -> None:
    """The same for the same, another for another, and no part of the secret is in it."""
    one, other = bytes(32), bytes([1] * 32)

    assert fingerprint(one) == fingerprint(bytes(32)) != fingerprint(other)
    assert one.hex() not in fingerprint(one)
