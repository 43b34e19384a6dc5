"""The secret of an installation is made once and is nobody else's."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.demo import packaged_settings
from bridge.secret import SecretError, key_for, load_secret


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    """32 bytes that stay the same; only the owner can read them, and nothing else lies beside them."""
    first = load_secret(tmp_path / "data")

    assert len(first) == 32
    assert load_secret(tmp_path / "data") == first
    assert load_secret(tmp_path / "other") != first
    (file,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "not hex", "abcd", "é"])
def test_a_strange_file_is_no_secret(tmp_path: Path, content: str) -> None:
    """Better no start than links that anybody can sign."""
    (tmp_path / "secret").write_text(content, encoding="utf-8")

    with pytest.raises(SecretError):
        load_secret(tmp_path)


def test_a_strange_file_is_told_in_words(tmp_path: Path) -> None:
    """Who starts the server reads which file it is and what can be done, not where in our code it was noticed."""
    (tmp_path / "secret").write_text("garbage")
    changed = {"SIDETONE_DATA": str(tmp_path), "SIDETONE_WEB__PORT": "0", "SIDETONE_SIP__ENABLED": "false", "COLUMNS": "400"}
    command = [sys.executable, "-m", "bridge", "serve", "-c", str(packaged_settings())]
    ended = subprocess.run(command, env=os.environ | changed, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "secret does not hold a secret: put it back" in " ".join(ended.stderr.split())


def test_each_purpose_has_its_key() -> None:
    """Keys differ by secret and by purpose, and are always the same for both."""
    keys = {key_for(secret, purpose) for secret in (b"a" * 32, b"b" * 32) for purpose in ("media", "mail")}

    assert len(keys) == 4
    assert key_for(b"a" * 32, "media") in keys
