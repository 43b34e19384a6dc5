"""compose.yaml and the front: what nodes need is there, and nginx understands the settings of the front and finds the nodes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.settings import Settings
from scripts.cluster import Ports, front_config

ROOT = Path(__file__).parents[2]
NODES = ("node-a", "node-b")


@pytest.fixture(scope="module")
def compose() -> Any:
    """The file, its anchors followed."""
    return YAML(typ="safe").load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_one_node_is_what_starts_by_itself(compose: Any) -> None:
    """Everything else is in a profile, so `docker compose up` starts one node and no database."""
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["sidetone"]
    assert all(service.get("profiles", ["cluster"]) == ["cluster"] for service in compose["services"].values())


def test_asking_for_the_front_starts_everything_it_needs(compose: Any) -> None:
    """Its dependencies lead to both nodes, PostgreSQL and Redis, each waited for until it is well."""
    services = compose["services"]
    found: set[str] = set()
    todo = ["front"]
    while todo:
        for needed, how in services[todo.pop()].get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert needed in NODES or "healthcheck" in services[needed], needed  # the image of nodes has a check
            found.add(needed)
            todo.append(needed)
    assert found == {*NODES, "postgres", "redis"}


def test_secrets_and_volumes_are_declared(compose: Any) -> None:
    """Whatever a service names is there; every secret is a file that is not in the repository."""
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        named = {volume.partition(":")[0] for volume in service.get("volumes", ()) if isinstance(volume, str)}
        assert {name for name in named if not name.startswith(".")} <= set(compose["volumes"])
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {Path(secret["file"]).parent.as_posix() for secret in compose["secrets"].values()} == {"config/secrets"}
    assert "/config/secrets/" in ignored


def test_nodes_differ_in_name_and_ports_alone(compose: Any) -> None:
    """Their settings are the same file, what the environment replaces are settings, and no port is used twice."""
    a, b = (compose["services"][name] for name in NODES)
    assert {**a, "environment": None} == {**b, "environment": None}
    for key in (*a["environment"], *b["environment"]):
        section, _, name = key.removeprefix("SIDETONE_").lower().partition("__")
        assert name in type(getattr(Settings(data=Path("unused")), section)).model_fields
    assert a["environment"]["SIDETONE_CLUSTER__NODE"] != b["environment"]["SIDETONE_CLUSTER__NODE"]
    ranges = [[int(port) for port in re.findall(r"\d+", node["environment"]["SIDETONE_SIP__RTP_PORTS"])] for node in (a, b)]
    assert ranges[0][1] < ranges[1][0]


def test_the_front_leads_to_the_ports_of_the_nodes(compose: Any) -> None:
    """What `config/front.conf` passes on goes where compose.yaml lets the nodes listen."""
    front = (ROOT / "config" / "front.conf").read_text(encoding="utf-8")
    for kind in ("WEB", "SIP"):
        upstream = re.search(rf"upstream {kind.lower()} \{{(.*?)\}}", front, re.DOTALL)
        assert upstream is not None
        ports = re.findall(r"server 127\.0\.0\.1:(\d+)", upstream[1])
        assert ports == [str(compose["services"][node]["environment"][f"SIDETONE_{kind}__PORT"]) for node in NODES]


def test_nginx_understands_the_front(tmp_path: Path) -> None:
    """`nginx -t`, with other ports and folders put in as `make cluster` does."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert nginx is not None, "nginx is not on this machine (Debian: apt-get install nginx libnginx-mod-stream)"
    config = front_config(tmp_path, Ports())

    tried = subprocess.run([nginx, "-t", "-e", "stderr", "-c", config], capture_output=True, text=True, check=False)

    assert tried.returncode == 0, tried.stderr
    assert "/tmp/front" not in config.read_text()
