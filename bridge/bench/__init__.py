"""How well waits are estimated: a simulated contact centre, the formulas of the field as rivals, and call logs to score."""

from bridge.bench.bank import CallLogError, read_log, replay
from bridge.bench.centre import Line, Scenario, Team, simulate
from bridge.bench.rivals import Candidate, Sidetone, rivals
from bridge.bench.scenarios import SCENARIOS
from bridge.bench.trial import Row, Trial, run_bank, run_scenarios, summary

__all__ = [
    "SCENARIOS",
    "CallLogError",
    "Candidate",
    "Line",
    "Row",
    "Scenario",
    "Sidetone",
    "Team",
    "Trial",
    "read_log",
    "replay",
    "rivals",
    "run_bank",
    "run_scenarios",
    "simulate",
    "summary",
]
