"""What programs send and get about waiting times; `null` is unknown, never 0."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from bridge.web.api.models import Answer, Moment, Name, Request

MOST_STEPS = 500
"""Of a staffing plan."""
Seconds: TypeAlias = float | None
Channel: TypeAlias = Literal["voice", "sms"]
Status: TypeAlias = Literal["ok", "free_agent", "no_agents", "closed", "degraded"]
Alarm: TypeAlias = Literal["too_narrow", "too_wide", "too_short", "too_long"]
Probabilities: TypeAlias = dict[str, float | None]


class SmsSide(Answer):
    """The queue for chats that would take a queue's callers."""

    queue: str
    mean: Seconds
    p50: Seconds
    p90: Seconds
    open_slots: int
    reserved: float = Field(description="texters who were offered lately and are still to come")


class Decision(Answer):
    """What a caller whose number can be texted would be offered now."""

    offer_sms: bool
    reason: str
    p: float | None = Field(description="P(wait >= threshold)")
    threshold: Seconds
    pi: float | None = Field(description="the probability that is enough")
    since: float = Field(description="since when it has been so, as far as anybody has looked")


class Announcement(Answer):
    """What a caller may be told, in whole minutes."""

    low_min: int | None
    high_min: int | None
    speak: bool
    silence: str | None = Field(description="why no number may be said")


class Wait(Answer):
    """A distribution of seconds, and what it is made of."""

    queue: str
    channel: Channel
    as_of: float
    status: Status
    basis: str = Field(description="learned, plan, or prior while too little has been seen")
    mean: Seconds
    p10: Seconds
    p25: Seconds
    p50: Seconds
    p75: Seconds
    p90: Seconds
    prob_ge: Probabilities = Field(description="by seconds, the probability of waiting as long")
    ahead: float | None = Field(description="contacts who go before")
    capacity: int | None = Field(description="agents, or places for chats, busy ones included")
    announce: Announcement


class QueueWait(Wait):
    """How long somebody would wait who came now, and why."""

    title: str
    languages: tuple[str, ...] = Field(description="that its agents have to speak; none: any")
    priority: int
    waiting: int
    longest_wait: Seconds
    drain_per_min: float | None = Field(description="taken from the line by the minute, in the last quarter of an hour")
    abandon_per_min: float | None = Field(description="left the line by the minute, in the same time")
    agents_ready: int
    agents_busy: int
    open_slots: int
    outcomes_seen: int = Field(description="waits that were learned from")
    coverage_80_recent: float | None = Field(description="share of the newest waits from p10 to p90; should be 0.80")
    alarm: Alarm | None = Field(description="what is wrong with its forecasts lately")
    plan_until: Seconds = Field(description="last step of the staffing plan")
    sms: SmsSide | None
    decision: Decision | None = Field(description="null for a queue of chats")


class Waits(Answer):
    """The wait of every queue."""

    queues: dict[str, QueueWait]


class ContactWait(Wait):
    """What is left of the wait of one in line."""

    session: str
    position: int
    since: float = Field(description="when their place in line began")
    waited: float


class PlanStep(Request):
    """From a time on, so many agents or places for chats."""

    at: Moment
    capacity: Annotated[int, Field(ge=0, le=100_000)]


class NewPlan(Request):
    """The coming staff of a queue; it replaces what was planned. Without steps there is no plan any more."""

    steps: Annotated[tuple[PlanStep, ...], Field(max_length=MOST_STEPS)]


class PlanStepShown(Answer):
    """From a time on, so many agents or places for chats."""

    at: float
    capacity: int


class Plan(Answer):
    """The coming staff of a queue."""

    queue: str
    steps: tuple[PlanStepShown, ...]
    set_at: Seconds
    by: str | None


class Resynced(Answer):
    """Whom the estimator knows of."""

    at: float
    agents: int = Field(description="at work")
    waiting: int = Field(description="in line")
    in_hand: int = Field(description="with an agent")
    corrected: bool = Field(description="it had believed something else")


class Scores(Answer):
    """How good forecasts were; times in seconds."""

    n: int
    mean_wait: float
    mae: float = Field(description="mean absolute error of the median")
    rmse: float = Field(description="root of the mean squared error of the mean")
    bias: float = Field(description="mean of forecast less wait")
    coverage: float | None = Field(description="share of the waits from p10 to p90; should be 0.80")
    pinball: dict[str, float] = Field(description="by level")
    brier: dict[str, float] = Field(description="by seconds T, of P(wait >= T)")
    regret: dict[str, float] = Field(description="by seconds T, lost per contact by deciding mean >= T wrongly")


class QueueScores(Answer):
    """The figures of a queue."""

    queue: str
    ghosts: int = Field(description="of n, who left the line before their turn and were followed until it came")
    scores: Scores


class HalfHour(Answer):
    """Half an hour of the day, over all days."""

    begins: str
    n: int
    mean_wait: float
    mean_forecast: float
    coverage: float
    bias: float


class ReliabilityStep(Answer):
    """Forecasts of about the same probability."""

    forecast: float
    observed: float
    n: int


class Report(Answer):
    """Everything about some outcomes."""

    total: QueueScores | None
    queues: tuple[QueueScores, ...]
    half_hours: tuple[HalfHour, ...]
    reliability: dict[str, tuple[ReliabilityStep, ...]] = Field(description="by seconds T, in order of P(wait >= T)")


class Calibration(Answer):
    """How good the forecasts of a time were."""

    since: float
    until: float
    zone: str
    report: Report
    alarms: dict[str, Alarm] = Field(description="by queue, what is wrong lately")
    complete: bool = Field(description="false: these are the newest 50,000 outcomes only")


# --- parameters


class QueueWaitQuery(Request):
    """Whose wait."""

    priority: Annotated[int, Field(ge=0, le=9, description="0 is most urgent")] = 1


class WaitsQuery(Request):
    """Which queues."""

    channel: Channel | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$", description="queues that serve it, as en")] | None = None


class CalibrationQuery(Request):
    """Of which forecasts."""

    queue: Name | None = None
    since: Moment | None = Field(default=None, description="not given: seven days before until")
    until: Moment | None = Field(default=None, description="not given: now")
