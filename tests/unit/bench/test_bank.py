"""Logs of calls are read strictly and lived through in order."""

import gzip
from pathlib import Path

import pytest

from bridge.bench import CallLogError, Sidetone, read_log, replay, run_bank
from bridge.bench.bank import COLUMNS, channels_of
from tests.unit.bench.test_centre import Listener

HEAD = ",".join(COLUMNS)


def log(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "calls.csv"
    path.write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    return path


def test_a_log_is_read_plain_or_gzipped(tmp_path: Path) -> None:
    """Types that wait together are one line; 2 is urgent; whoever hung up had no agent."""
    rows = ("jan,1,100,PS,2,0,S,60,a01", "jan,1,110,TT,0,30,A,0,-", "jan,2,5,NW,1,4,S,0,-")
    plain = log(tmp_path, *rows)
    packed = tmp_path / "calls.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        calls = read_log(path)
        assert [(c.queue, c.priority, c.at, c.waited, c.served, c.handle, c.agent) for c in calls] == [
            ("PS", 0, 100.0, 0.0, True, 60.0, "a01"),
            ("PS", 1, 110.0, 30.0, False, 1.0, None),
            ("NW", 1, 86_405.0, 4.0, True, 1.0, None),
        ]
    assert channels_of(calls) == {"NW": "voice", "PS": "voice"}


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        ((), "a,b", "no column month, day"),
        (("jan,1,x,PS,1,0,S,60,a",), HEAD, "line 2: could not convert"),
        (("jan,1,1,PS,1,0,X,60,a",), HEAD, "line 2: outcome is 'X'"),
        (("jan,1,1,PS",), HEAD, "line 2"),
    ],
)
def test_what_is_no_log_is_refused_in_words(tmp_path: Path, rows: tuple[str, ...], head: str, words: str) -> None:
    """With the line."""
    with pytest.raises(CallLogError, match=words):
        read_log(log(tmp_path, *rows, head=head))


@pytest.mark.parametrize("data", [b"\x1f\x8bnonsense", b"no gzip"])
def test_a_broken_archive_is_no_log(tmp_path: Path, data: bytes) -> None:
    """Neither."""
    path = tmp_path / "calls.gz"
    path.write_bytes(data)
    with pytest.raises((CallLogError, OSError)):
        read_log(path)


def test_a_hang_up_waits_until_somebody_later_is_taken(tmp_path: Path) -> None:
    """Or until an agent is free with nobody in line; what nobody can know stays open."""
    calls = read_log(
        log(
            tmp_path,
            "jan,1,0,PS,1,0,S,100,a",  # the only agent is busy until 100
            "jan,1,10,PS,1,20,A,0,-",  # hangs up at 30
            "jan,1,40,PS,1,60,S,50,a",  # is taken at 100, before whom the one of 10 would have been
            "jan,1,110,PS,1,5,A,0,-",  # hangs up at 115; at 150 the agent is free
            "jan,1,200,PS,1,0,S,10,a",
            "jan,1,205,PS,1,2,A,0,-",  # the agent leaves at 210 and takes nobody any more
        )
    )
    replay(calls, [])
    assert [call.wait for call in calls] == [0.0, 90.0, 60.0, 40.0, 0.0, None]


def test_candidates_hear_the_day_and_are_asked_about_who_waits(tmp_path: Path) -> None:
    """An agent without a call for ten minutes had gone; nobody is asked when no agent was there."""
    listener, days = Listener(), []
    calls = read_log(
        log(
            tmp_path,
            "jan,1,0,PS,1,0,S,100,a",
            "jan,1,10,PS,1,90,S,50,a",
            "jan,1,1000,PS,1,0,S,10,a",
            "jan,1,1200,PS,1,30,A,0,-",
            "feb,1,0,PS,1,0,S,10,-",
        )
    )
    replay(calls, [listener], lambda: days.append(1))
    story = [(at, what) for at, what, who in listener.heard if who == "a"]
    assert story == [(0.0, "login"), (150.0, "logout"), (1000.0, "login"), (1010.0, "logout")]
    assert [bool(call.told) for call in calls] == [False, True, False, False, False]
    assert len(days) == 2


def test_a_log_is_scored_like_a_scenario(tmp_path: Path) -> None:
    """One row for each formula and one for the estimator."""
    rows = [f"jan,1,{n * 60},PS,1,{min(n * 20, 300)},S,80,a" for n in range(40)]
    trial = run_bank("log", read_log(log(tmp_path, *rows)))
    assert {row.n for row in trial.rows} == {39.0}
    assert Sidetone({}, 1.0, 1.0).name in {row.name for row in trial.rows}
