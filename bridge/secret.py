"""The secret of this installation: what is signed with it is ours. Made once, in the data folder, or given in the settings."""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

NAME = "secret"
_BYTES = 32


class SecretError(Exception):
    """The file of the secret is not what we wrote."""


def load_secret(folder: Path, given: str | None = None) -> bytes:
    """The secret in *folder*, 32 random bytes; made now when there is none. Only the owner of the file can read it.

    Args:
        folder: The data folder. Not looked at when there is a secret without it.
        given: The setting `secret`, if there is one; 64 hexadecimal digits mean what they mean in the file.

    Raises:
        SecretError: the file holds something else.
        OSError: it cannot be read or written.
    """
    if given is not None:
        ours = re.fullmatch(f"[0-9a-fA-F]{{{2 * _BYTES}}}", given) is not None
        return bytes.fromhex(given) if ours else hashlib.sha256(given.encode()).digest()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / NAME
    new = folder / f".{NAME}.{os.getpid()}"
    if not path.exists():
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster: its secret counts
            os.link(new, path)
        new.unlink()
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise SecretError(
            f"{path} does not hold a secret: put it back from the backup, or delete it (links that were sent end then)"
        ) from error
    if len(secret) != _BYTES:
        raise SecretError(f"{path} does not hold a secret of {_BYTES} bytes")
    return secret


def has_secret(folder: Path) -> bool:
    """Whether one has been made in *folder*."""
    return (folder / NAME).exists()


def fingerprint(secret: bytes) -> str:
    """By which nodes tell that they have the same secret; nobody can tell the secret by it."""
    return hmac.digest(secret, b"fingerprint of the secret", hashlib.sha256).hex()[:32]


def key_for(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose: whoever learns one of them knows none of the others."""
    return hmac.digest(secret, purpose.encode(), hashlib.sha256)
