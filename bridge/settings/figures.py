"""Reports and alerts."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bridge.alerts import Rule
from bridge.settings.values import Name, Seconds, Section, Zone


class PriceSettings(Section):
    """What a segment of a text costs, for reports."""

    direction: Literal["in", "out"] = Field(description="to us, or from us")
    kind: Literal["sms", "mms"] = Field(default="sms", description="mms: with a picture, counted as its provider counts segments")
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        default=None, description="ISO country of the customer's number; not given: every country without a price of its own"
    )
    price: Annotated[float, Field(ge=0)] = Field(description="of one segment, in reports.currency")


class ReportMailSettings(Section):
    """A report that comes by mail when its time is over."""

    name: Name = Field(description="tells one from another; a mail that is renamed begins anew")
    report: Literal["overview", "queues", "agents", "messages", "offers", "waits", "agreements"] = Field(description="which")
    every: Literal["day", "week", "month"] = Field(description="of the day, week or month that has just ended")
    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = Field(default="07:00", description="local time")
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = Field(min_length=1, description="addresses")
    zone: Zone | None = Field(default=None, description="IANA time zone; not given: reports.zone")


class ReportsSettings(Section):
    """Reports (docs/reports.md)."""

    zone: Zone | None = Field(default=None, description="IANA time zone of days and hours; not given: that of the first of hours")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(default="USD", description="of the prices")
    prices: tuple[PriceSettings, ...] = Field(default=(), description="what texts cost; not given: nothing")
    mail: tuple[ReportMailSettings, ...] = Field(default=(), description="reports that come by mail; needs mail.smarthost")


class AlertSettings(Section):
    """Says when a figure is not as it should be (docs/supervisor.md)."""

    name: str = Field(description="what people read")
    on: Literal["queue", "agent", "service"] = Field(
        description="what is measured: each queue, each agent, or everything together"
    )
    measure: str = Field(
        description="of a queue: waiting, longest_wait, service_level, ewt_p90, abandoned, agents_ready, open_slots; of an "
        "agent: state_for, missed, unanswered; of everything: texts_failed, calls, sessions, waiting, dead_letters, calibration"
    )
    above: float | None = Field(default=None, description="it is raised while the figure is greater")
    below: float | None = Field(default=None, description="it is raised while the figure is smaller")
    lasting: Seconds = Field(default=60.0, description="it must be so for so long, and well inside for as long until it is over")
    window: Annotated[float, Field(ge=60, le=14_400)] = Field(
        default=900.0, description="seconds over which counts and the service level are taken"
    )
    of: tuple[str, ...] = Field(default=(), description="queues or agents; none: all")
    to: tuple[Literal["board", "mail", "hook"], ...] = Field(default=("board",), description="who is told, once each time")
    mail: tuple[str, ...] = Field(default=(), description="addresses")

    @property
    def rule(self) -> Rule:
        """The same for `bridge.alerts`.

        Raises:
            ValueError: It means nothing.
        """
        return Rule(**self.model_dump())

    @model_validator(mode="after")
    def _means_something(self) -> "AlertSettings":
        _ = self.rule
        if ("mail" in self.to) != bool(self.mail):
            raise ValueError("to: mail and the addresses in mail belong together")
        return self
