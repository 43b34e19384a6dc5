"""The whole file, and what has to fit between its sections."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.settings.calls import CallSettings, SipSettings
from bridge.settings.figures import AlertSettings, ReportsSettings
from bridge.settings.house import (
    AgentSettings,
    DeskSettings,
    HoursSettings,
    NumberSettings,
    PresetSettings,
    QueueSettings,
    RoutingSettings,
    TargetSettings,
)
from bridge.settings.programs import ApiSettings, CrmSettings, HookSettings
from bridge.settings.server import AuditSettings, ClusterSettings, JournalSettings, MediaSettings, WebSettings
from bridge.settings.texts import MailSettings, SmsSettings, TwilioSettings
from bridge.settings.values import Name, OwnSecret, Seconds, is_loopback

MOST_DIRECT_NUMBERS = 5
"""Of one agent."""


class Settings(BaseSettings):
    """The whole file."""

    model_config = SettingsConfigDict(
        env_prefix="SIDETONE_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    brand: str = Field(default="Sidetone", description="named in the first text to every customer")
    data: Path = Field(default=Path("var"), description="folder for the journal, media and keys")
    flows: Path | None = Field(default=None, description="folder of flows; default: the packaged ones")
    prompts: Path | None = Field(default=None, description="folder of prompt catalogues; default: the packaged ones")
    secret: OwnSecret | None = Field(
        default=None,
        description="32 characters or more that sign links and addresses of mails, the same on every node; "
        "not given: the file `secret` in the data folder, made at the first start",
    )
    public_url: str | None = Field(
        default=None, pattern=r"^https?://[^/?#\s]+[^?#\s]*$", description="how the outside reaches the web side; Twilio needs it"
    )
    log: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_timeout: Seconds = Field(default=30.0, description="after SIGTERM, how long calls in progress may go on")
    desk_grace: Seconds = Field(default=45.0, description="how long a desk may be disconnected before its agent counts as gone")
    country: str = Field(default="US", description="region for numbers written without a plus")
    not_ready_reasons: tuple[str, ...] = Field(
        default=("Break", "Lunch", "Meeting", "Training"), description="what an agent who is not ready can choose from"
    )
    dispositions: tuple[str, ...] = Field(
        default=("Solved", "Follow-up needed", "Wrong department", "No contact"), description="how finished work can be filed"
    )
    journal: JournalSettings = JournalSettings()
    cluster: ClusterSettings = ClusterSettings()
    web: WebSettings = WebSettings()
    sip: SipSettings = SipSettings()
    calls: CallSettings = CallSettings()
    sms: SmsSettings = SmsSettings()
    twilio: TwilioSettings | None = None
    api: ApiSettings = ApiSettings()
    hooks: tuple[HookSettings, ...] = ()
    media: MediaSettings = MediaSettings()
    mail: MailSettings | None = None
    crm: CrmSettings = CrmSettings()
    numbers: tuple[NumberSettings, ...] = ()
    queues: tuple[QueueSettings, ...] = ()
    agents: tuple[AgentSettings, ...] = ()
    routing: RoutingSettings = RoutingSettings()
    desk: DeskSettings = DeskSettings()
    target: TargetSettings = TargetSettings(answer_within=20.0, share=0.8, short_abandon=5.0)
    hours: Mapping[Name, HoursSettings] = Field(default_factory=dict)
    presets: tuple[PresetSettings, ...] = ()
    alerts: tuple[AlertSettings, ...] = ()
    audit: AuditSettings = AuditSettings()
    reports: ReportsSettings = ReportsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the base class fixes the names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (which comes in as arguments)."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _teams_work_on_queues(self) -> "Settings":
        """An agent's queues are their own and those of their teams, for everybody who asks."""
        agents = []
        for agent in self.agents:
            by_team = [queue.id for queue in self.queues if not set(queue.teams).isdisjoint(agent.teams)]
            agents.append(agent.model_copy(update={"queues": tuple(dict.fromkeys((*agent.queues, *by_team)))}))
        object.__setattr__(self, "agents", tuple(agents))  # before anybody has seen it
        return self

    @model_validator(mode="after")
    def _names_resolve(self) -> "Settings":
        problems = []
        queues = {queue.id: queue for queue in self.queues}
        for kind, names in (
            ("number", [n.number for n in self.numbers]),
            ("queue", [q.id for q in self.queues]),
            ("agent", [a.id for a in self.agents]),
            ("API key", [*(["admin"] if self.web.api_tokens else []), *(k.name for k in self.api.keys)]),
            ("hook", [h.name for h in self.hooks]),
            ("preset", [p.id for p in self.presets]),
            ("alert", [a.name for a in self.alerts]),
        ):
            problems += [f"{kind} {name} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
        desks = [(f"number {n.number}", n.desk) for n in self.numbers] + [(f"queue {q.id}", q.desk) for q in self.queues]
        for owner, desk in desks:
            if desk is not None and (desk not in queues or queues[desk].channel != "sms"):
                problems.append(f"{owner}: desk {desk!r} is not a queue of channel sms")
        for agent in self.agents:
            problems += [f"agent {agent.id}: there is no queue {queue!r}" for queue in agent.queues if queue not in queues]
        problems += self._alert_names_resolve(queues)
        problems += self._routing_names_resolve(queues)
        problems += self._text_names_resolve(queues)
        if self.sms.provider == "twilio":
            if self.twilio is None:
                problems.append("sms.provider is twilio: the section twilio is missing")
            if self.public_url is None:
                problems.append("sms.provider is twilio: public_url is missing (webhook signatures are made over it)")
        if self.sip.enabled and self.sip.host in {"0.0.0.0", "::"} and self.sip.advertised_host is None:  # noqa: S104  # a check
            problems.append("sip.host listens everywhere: sip.advertised_host must say where the audio is to be sent")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _nodes_share_a_journal(self) -> "Settings":
        if self.cluster.url is not None and not self.journal.url.startswith("postgresql"):
            raise ValueError("cluster.url: nodes share one journal, and this one is a file: set journal.url to postgresql://...")
        return self

    def _alert_names_resolve(self, queues: Collection[str]) -> list[str]:
        problems = []
        for alert in self.alerts:
            known = {"queue": set(queues), "agent": {agent.id for agent in self.agents}, "service": set[str]()}[alert.on]
            problems += [f"alert {alert.name}: there is no {alert.on} {name!r}" for name in sorted(set(alert.of) - known)]
            if "mail" in alert.to and (self.mail is None or self.mail.smarthost is None):
                problems.append(f"alert {alert.name}: mail needs mail.smarthost")
        return problems

    def _routing_names_resolve(self, queues: Mapping[str, QueueSettings]) -> list[str]:
        problems = []
        teams = {team for agent in self.agents for team in agent.teams}
        for queue in self.queues:
            named = {*queue.teams, *(team for step in queue.cascade for team in step.teams)}
            problems += [f"queue {queue.id}: no agent is in team {team!r}" for team in sorted(named - teams)]
            to = queue.redirect.to if queue.redirect is not None else None
            if to is not None and (to == queue.id or to not in queues or queues[to].channel != queue.channel):
                problems.append(f"queue {queue.id}: redirect.to {to!r} is no other queue of channel {queue.channel}")
            if queue.redirect is not None and queue.redirect.rings == 0 and queue.redirect.after is None:
                problems.append(f"queue {queue.id}: redirect says neither after how many rings nor after what time")
            if any(not step.teams and step.level is None for step in queue.cascade):
                problems.append(f"queue {queue.id}: a step of cascade names neither teams nor a level")
            above: list[str | None] = [queue.parent]
            while above[-1] is not None and above[-1] in queues and above[-1] not in above[:-1]:
                above.append(queues[above[-1]].parent)
            if queue.id in above:
                problems.append(f"queue {queue.id}: it is its own parent")
            if queue.parent is not None and queue.parent not in queues:
                problems.append(f"queue {queue.id}: there is no queue {queue.parent!r} to be its parent")
        return problems

    def _text_names_resolve(self, queues: Mapping[str, QueueSettings]) -> list[str]:
        problems = []
        agents = {agent.id: agent for agent in self.agents}
        numbers = {number.number for number in self.numbers}
        direct = [number.agent for number in self.numbers if number.agent is not None]
        for number in self.numbers:
            if number.agent is not None and number.agent not in agents:
                problems.append(f"number {number.number}: there is no agent {number.agent!r}")
            elif number.agent is not None and self.chat_queue_of(agents[number.agent]) is None:
                problems.append(f"number {number.number}: agent {number.agent!r} has no queue of channel sms")
        problems += [
            f"agent {agent}: more than {MOST_DIRECT_NUMBERS} direct numbers"
            for agent in sorted(set(direct))
            if direct.count(agent) > MOST_DIRECT_NUMBERS
        ]
        for queue in queues.values():
            problems += [f"queue {queue.id}: {n} is none of numbers" for n in queue.numbers if n not in numbers]
            if queue.hours is not None and queue.hours not in self.hours:
                problems.append(f"queue {queue.id}: there are no hours {queue.hours!r}")
        if self.sms.unassigned.action == "queue" and self.sms.unassigned.queue not in queues:
            problems.append("sms.unassigned: action queue needs a queue that exists")
        if self.mail is not None:
            problems += self._mail_problems(self.mail, numbers)
        if self.media.backend == "s3" and None in {
            self.media.url,
            self.media.bucket,
            self.media.access_key,
            self.media.secret_key,
        }:
            problems.append("media: backend s3 needs url, bucket, access_key and secret_key")
        return problems

    @staticmethod
    def _mail_problems(mail: MailSettings, numbers: Collection[str]) -> list[str]:
        problems = [f"mail.allow: {rule.ours} is none of numbers" for rule in mail.allow if rule.ours not in numbers]
        if (mail.certificate is None) != (mail.key is None) or (mail.users and mail.certificate is None):
            problems.append("mail: users sign in by STARTTLS, which needs certificate and key")
        host = mail.smarthost
        if host is not None and host.password is not None and host.tls == "none" and not is_loopback(host.host):
            problems.append("mail.smarthost: a password must not travel unencrypted; set tls")
        return problems

    def chat_queue_of(self, agent: AgentSettings) -> str | None:
        """The first queue for texts that an agent works on."""
        texts = {queue.id for queue in self.queues if queue.channel == "sms"}
        return next((queue for queue in agent.queues if queue in texts), None)

    @property
    def phone_for(self) -> Literal["everybody", "this machine", "nobody"]:
        """Who may use the engineer's phone. Behind a proxy everybody seems to be on this machine, so it has to be asked for."""
        if self.web.phone_page is not None:
            return "everybody" if self.web.phone_page else "nobody"
        return "this machine" if self.public_url is None and is_loopback(self.web.host) else "nobody"

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies travel by HTTPS only."""
        if self.web.secure_cookies is not None:
            return self.web.secure_cookies
        return (self.public_url or "").startswith("https:")

    @property
    def journal_url(self) -> str:
        """The journal's URL with the data folder filled in."""
        return self.journal.url.replace("{data}", self.data.absolute().as_posix())
