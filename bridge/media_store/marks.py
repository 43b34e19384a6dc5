"""Whether the nodes of one service keep pictures in one folder: each leaves a mark there, and looks for those of the others."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".node-"
"""Of the names of marks; a dot, so that nobody takes one for a picture."""
OLD = 86_400.0
"""Seconds after which a mark of a node that is not there any more is removed: who has just left one may not have joined yet."""


@contextmanager
def mark_in(folder: Path, node: str) -> Iterator[None]:
    """Leave the mark of *node* in *folder* while the block lasts.

    Raises:
        OSError: The folder cannot be written.
    """
    mark = folder / f"{PREFIX}{node}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark.touch(mode=0o600)
    try:
        yield
    finally:
        with suppress(OSError):  # or somebody finds it old one day
            mark.unlink()


def without_mark(folder: Path, nodes: Collection[str]) -> list[str]:
    """Those of *nodes* that have left no mark here: they keep their pictures elsewhere.

    Raises:
        OSError: The folder cannot be read.
    """
    there = {mark.name.removeprefix(PREFIX) for mark in folder.glob(f"{PREFIX}*")}
    return sorted(set(nodes) - there)


def forget(folder: Path, but: Collection[str]) -> None:
    """Remove what nodes that have died left long ago; those of *but* are there.

    Raises:
        OSError: The folder cannot be written.
    """
    for mark in folder.glob(f"{PREFIX}*"):
        if mark.name.removeprefix(PREFIX) not in but and mark.stat().st_mtime < time.time() - OLD:
            mark.unlink(missing_ok=True)
