"""The secret of this installation: what is signed with it is ours. Made once, in the data folder."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

NAME = "secret"
_BYTES = 32


class SecretError(Exception):
    """The file of the secret is not what we wrote."""


def load_secret(folder: Path) -> bytes:
    """The secret in *folder*, 32 random bytes; made now when there is none. Only the owner of the file can read it.

    Several nodes need the same one: copy the file before the others start.

    Raises:
        SecretError: the file holds something else.
        OSError: it cannot be read or written.
    """
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


def key_for(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose: whoever learns one of them knows none of the others."""
    return hmac.digest(secret, purpose.encode(), hashlib.sha256)
