"""What became of the forecasts: who was told how long, how long it was, and how good that makes the estimator. Pure."""

from bridge.hindsight.correction import correction
from bridge.hindsight.report import HalfHour, QueueScores, Report, report_on
from bridge.hindsight.scores import (
    ALARM_AFTER,
    LEAST_FOR_ALARM,
    THRESHOLDS,
    Alarm,
    Outcome,
    Scores,
    Step,
    Told,
    alarm_of,
    reliability,
    score,
)
from bridge.hindsight.witness import Pace, Witness, WitnessDump

__all__ = [
    "ALARM_AFTER",
    "LEAST_FOR_ALARM",
    "THRESHOLDS",
    "Alarm",
    "HalfHour",
    "Outcome",
    "Pace",
    "QueueScores",
    "Report",
    "Scores",
    "Step",
    "Told",
    "Witness",
    "WitnessDump",
    "alarm_of",
    "correction",
    "reliability",
    "report_on",
    "score",
]
