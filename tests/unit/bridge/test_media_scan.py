"""Nothing is shown before it is known to be harmless."""

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from bridge.media_store import CommandScanner, MediaRefusedError, MediaStore, Verdict

PDF = b"%PDF-1.7\nhello"
EVIL = b"%PDF-1.7\nEICAR"


class Answers:
    """A scanner whose verdict a test sets."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.asked = 0

    async def __call__(self, data: bytes) -> Verdict:
        self.asked += 1
        return "infected" if data == EVIL and self.verdict == "clean" else self.verdict


def program(folder: Path, body: str) -> list[str]:
    script = folder / "scan.py"
    script.write_text(f"import os, sys, time\npath = sys.argv[-1]\n{body}\n")
    return [sys.executable, str(script), "--quiet"]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_clean_file_is_shown_and_asked_about_once(tmp_path: Path) -> None:
    """Sending the same again needs no second look."""
    scan = Answers("clean")
    store = MediaStore(tmp_path / "media", scan=scan)

    media = await store.put(PDF)
    assert await store.put(PDF) == media

    assert not isinstance(await store.find(media.digest), str)
    assert scan.asked == 1


async def test_a_harmful_file_is_not_kept(tmp_path: Path) -> None:
    """Only a mark stays, so that it is refused again without being looked at."""
    scan = Answers("clean")
    store = MediaStore(tmp_path / "media", scan=scan)

    for _ in range(2):
        with pytest.raises(MediaRefusedError) as error:
            await store.put(EVIL)
        assert error.value.reason == "infected"

    assert scan.asked == 1
    assert [path.stat().st_size for path in (tmp_path / "media").rglob("*") if path.is_file()] == [0]


async def test_what_cannot_be_checked_is_held_back_until_it_can(tmp_path: Path) -> None:
    """The sender is told that it is here, nobody sees it, and after a while it is shown or marked."""
    scan = Answers("unknown")
    store = MediaStore(tmp_path / "media", scan=scan)
    good, evil = await store.put(PDF), await store.put(EVIL)
    assert [await store.find(media.digest) for media in (good, evil)] == ["checking", "checking"]
    assert await store.find(good.digest, "thumbnail") == "checking"

    assert await store.recheck() == {good.digest: "unknown", evil.digest: "unknown"}
    scan.verdict = "clean"
    assert await store.recheck() == {good.digest: "clean", evil.digest: "infected"}

    kept = await store.find(good.digest)
    assert not isinstance(kept, str)
    assert kept.size == len(PDF)
    assert await store.find(evil.digest) == "infected"
    assert await store.recheck() == {}


async def test_what_is_held_back_can_be_deleted(tmp_path: Path) -> None:
    """Somebody who wants to be forgotten need not wait for a scanner."""
    store = MediaStore(tmp_path / "media", scan=Answers("unknown"))
    media = await store.put(PDF)

    await store.delete(media.digest)

    assert await store.find(media.digest) == "gone"
    assert not list((tmp_path / "media").iterdir())


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("sys.exit(0)", "clean"),
        ("sys.exit(1)", "infected"),
        ("sys.exit(2)", "unknown"),
        ("os.kill(os.getpid(), 9)", "unknown"),
        ("sys.exit(b'EICAR' in open(path, 'rb').read())", "infected"),
        ("sys.exit(0 if os.stat(path).st_mode & 0o077 == 0 else 1)", "clean"),
    ],
)
async def test_the_exit_code_is_the_verdict(tmp_path: Path, body: str, verdict: Verdict) -> None:
    """0 clean, 1 infected, everything else unknown; the file is there for the program alone and gone afterwards."""
    folder = tmp_path / "spool"

    assert await CommandScanner(program(tmp_path, body), folder=folder)(EVIL) == verdict

    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_what_a_dead_process_left_goes(tmp_path: Path) -> None:
    """A file that nobody waits for any more is removed; one that is being looked at stays."""
    for name, age in ((".scan-old", 7200), (".scan-new", 60), ("other", 7200)):
        (tmp_path / name).write_bytes(PDF)
        os.utime(tmp_path / name, (time.time() - age,) * 2)

    await CommandScanner(["true"], folder=tmp_path)(PDF)

    assert names(tmp_path) == {".scan-new", "other"}


async def test_a_held_file_may_go_while_it_is_checked(tmp_path: Path) -> None:
    """Whoever deletes it meanwhile does not stop the others from being checked."""
    scan = Answers("unknown")
    store = MediaStore(tmp_path / "media", scan=scan)
    first, second = sorted([await store.put(PDF), await store.put(PDF + b"!")], key=lambda media: media.digest)

    async def delete_the_other(data: bytes) -> Verdict:
        assert data
        await store.delete(second.digest)
        return "clean"

    store._scan = delete_the_other
    assert await store.recheck() == {first.digest: "clean"}


async def test_a_program_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    """Its verdict is unknown, and it does not go on running."""
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(300)"

    assert await CommandScanner(program(tmp_path, body), patience=1.0)(PDF) == "unknown"

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("command", [["/no/such/program"], ["/etc/passwd"]])
async def test_a_program_that_cannot_be_run_knows_nothing(command: list[str]) -> None:
    """A wrong setting holds files back; it lets nothing through."""
    assert await CommandScanner(command)(PDF) == "unknown"


async def test_a_folder_that_cannot_be_written_is_no_verdict(tmp_path: Path) -> None:
    """A full or closed disk holds files back as well."""
    (tmp_path / "file").write_bytes(b"")

    assert await CommandScanner(["true"], folder=tmp_path / "file" / "spool")(PDF) == "unknown"


async def test_what_is_deleted_while_it_is_checked_does_not_come_back(tmp_path: Path) -> None:
    """Somebody asked to be forgotten in that very moment."""

    class Forgetting(Answers):
        async def __call__(self, data: bytes) -> Verdict:
            if self.verdict == "clean":
                await store.delete(media.digest)
            return await super().__call__(data)

    scan = Forgetting("unknown")
    store = MediaStore(tmp_path / "media", scan=scan)
    media = await store.put(PDF)
    scan.verdict = "clean"

    await store.recheck()

    assert await store.find(media.digest) == "gone"
