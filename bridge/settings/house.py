"""The house: its numbers, queues, agents and hours, and what they go by."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from bridge.settings.values import E164, Name, Seconds, Secret, Section, Skill, Span


class OfferSettings(Section):
    """When callers of a queue are offered to text instead or meanwhile (docs/ewt.md)."""

    mode: Literal["above_threshold", "always", "never"] = "above_threshold"
    threshold: Seconds = Field(default=120.0, description="T: the wait that is worth an offer")
    probability: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.4, description="pi: offer when P(wait >= T) >= pi")
    margin: Seconds = Field(default=30.0, description="SMS must be faster than the call by so much")
    surely: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.7, description="the probability with which SMS must be faster by the margin"
    )
    sms_max: Seconds = Field(default=600.0, description="no offer when one in ten texters would wait longer than this")
    per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="callers offered a chat instead of waiting within a minute, at most"
    )
    hold_out: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="share of calls that are never offered a chat instead, to measure what offering is worth"
    )
    callback: Seconds | Literal["always", "never"] = Field(
        default="always", description="the wait left that is worth offering to be called back, where the flow offers it"
    )


class ChatSettings(Section):
    """What a queue has otherwise than `sms`."""

    expire: Seconds | None = Field(default=None, description="as sms.expire; null: the same, also below")
    chat_idle_timeout: Seconds | None = Field(default=None, description="as sms.chat_idle_timeout")
    warn_before: Seconds | None = Field(default=None, description="as sms.warn_before")
    dismiss_after: Annotated[float, Field(ge=0, le=604_800)] | None = Field(default=None, description="as sms.dismiss_after")
    reopen_window: Seconds | None = Field(default=None, description="as sms.reopen_window")
    prefer_for: Seconds | None = Field(default=None, description="as sms.prefer_for")
    transfer_ring: Seconds | None = Field(default=None, description="as sms.transfer_ring")
    max_transfers: Annotated[int, Field(ge=0)] | None = Field(default=None, description="as sms.max_transfers")


class CascadeSettings(Section):
    """A step: from some time on more agents are asked."""

    after: Annotated[float, Field(gt=0)] = Field(description="seconds of waiting")
    teams: tuple[Name, ...] = Field(default=(), description="agents of these teams are asked from now on, and not before")
    level: Annotated[int, Field(ge=1, le=9)] | None = Field(default=None, description="this level is enough of any skill")


class RedirectSettings(Section):
    """Who is not answered moves to another queue, at the same place; never while it rings or to where nobody works."""

    to: Name = Field(description="a queue of the same channel")
    rings: Annotated[int, Field(ge=0)] = Field(default=0, description="after so many offers rang out or were declined; 0: never")
    after: Annotated[float, Field(gt=0)] | None = Field(default=None, description="after so many seconds; not given: never")


class TargetSettings(Section):
    """What reports measure against. What is not given is taken from the queue's parent, in the end from the general target."""

    answer_within: Seconds | None = Field(default=None, description="waiting that counts as in time")
    share: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="part of customers answered in time")
    short_abandon: Seconds | None = Field(default=None, description="who hangs up sooner is not counted as lost")
    concurrency: Annotated[float, Field(gt=0)] | None = Field(default=None, description="chats at once per agent, on average")


class DeskSettings(Section):
    """The agents' desk."""

    slow: Seconds = Field(default=60.0, description="a customer who has waited so long for an answer by text stands out")
    late: Seconds = Field(default=180.0, description="and stands out more")


class RoutingSettings(Section):
    """What holds for all queues."""

    ageing: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="seconds of waiting that outweigh one step of priority; not given: the urgent always go first"
    )


class QueueSettings(Section):
    """One line of waiting customers."""

    id: Name = Field(description="how flows, numbers and agents name it")
    hours: Name | None = Field(default=None, description="sms: opening hours, for what customers are told")
    capacity: Annotated[int, Field(ge=0)] = Field(default=0, description="sms: more waiting than this is told; 0: no limit")
    chat: ChatSettings = ChatSettings()
    transfers: bool = Field(default=True, description="sms: agents may hand chats to this queue")
    numbers: tuple[E164, ...] = Field(
        default=(), description="sms: numbers its agents may write from; none: those with this desk"
    )
    channel: Literal["voice", "sms"] = "voice"
    title: str = Field(default="", description="what agents read")
    desk: Name | None = Field(default=None, description="voice: the SMS queue that takes its deflected callers")
    ring_timeout: Annotated[float, Field(ge=1)] = Field(default=20.0, description="how long work rings at one desk")
    wrap_up: Seconds = Field(default=30.0, description="time for the note after each piece of work; 0: none")
    wrap_up_requires: tuple[Literal["note", "disposition"], ...] = Field(
        default=(), description="what an agent has to write before the work is finished"
    )
    teams: tuple[Name, ...] = Field(default=(), description="teams that work on it, beside the agents who name it")
    strategy: Literal["longest_idle", "fewest_active", "in_order", "ring_all"] = Field(
        default="longest_idle", description="who of several is asked; ring_all: everybody, the first to accept has it"
    )
    skills: tuple[str, ...] = Field(default=(), description="asked of every agent: `billing`, or `billing>=4`")
    best_first: bool = Field(default=False, description="who is best at the skills asked for comes first")
    cascade: tuple[CascadeSettings, ...] = ()
    redirect: RedirectSettings | None = None
    decline_hold: Seconds = Field(default=60.0, description="before work is offered again to who declined it or let it ring")
    missed_after: Annotated[int, Field(ge=0)] = Field(
        default=1, description="so many offers in a row that ring out make an agent not ready; 0: never"
    )
    auto_answer: bool = Field(default=False, description="work is assigned without ringing")
    parent: Name | None = Field(default=None, description="queue whose target holds where this one's says nothing")
    target: TargetSettings = TargetSettings()
    aht: Seconds | None = Field(default=None, description="first guess of the average handling time; guess low")
    offers: OfferSettings = OfferSettings()


class SenderSettings(Section):
    """What a number is to the carriers: facts of its registration, and the limits they bring."""

    kind: Literal["long_code", "toll_free", "short_code", "alphanumeric"] = Field(
        default="long_code", description="class of sender"
    )
    brand: str | None = Field(default=None, description="10DLC: registered brand")
    campaign: str | None = Field(default=None, description="10DLC: registered campaign")
    registered: bool = Field(default=True, description="false: carriers in the US refuse its texts, so none are sent there")
    per_second: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="segments a second; not given: 1 long_code, 3 toll_free, 100 short_code"
    )
    per_day: Annotated[int, Field(gt=0)] | None = Field(default=None, description="segments a day, for the whole brand")


class NumberSettings(Section):
    """One number of ours. It may carry calls, in-call texts and chats at once."""

    number: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8})$")] = Field(
        description="E.164, as +15550100200, or a short code"
    )
    menu: Name | None = Field(default=None, description="the text menu that texts to it meet")
    agent: Name | None = Field(default=None, description="a direct number: texts to it are for this agent")
    language: str | None = Field(default=None, description="of who texts it first; not given: the menu's or flow's")
    sender: SenderSettings = SenderSettings()
    flow: Name | None = Field(default=None, description="what calls to it meet")
    desk: Name | None = Field(default=None, description="the SMS queue that texts to it go to")


class AgentSettings(Section):
    """Somebody who signs in: an agent, or who looks after agents, flows or the house."""

    id: Name = Field(description="what they sign in with")
    roles: tuple[Literal["agent", "supervisor", "engineer", "admin"], ...] = Field(
        default=("agent",), description="what they may do; without agent no work is offered"
    )
    name: str = Field(description="what customers and colleagues read")
    password_hash: Secret | None = Field(default=None, description="argon2id, made by `sidetone password`")
    queues: tuple[Name, ...] = Field(default=(), description="whose work is offered, beside that of the agent's teams")
    teams: tuple[Name, ...] = Field(default=(), description="what queues and cascades name")
    skills: tuple[Skill, ...] = Field(
        default=(), description="what flows may ask for: `lang:fr`, `billing`, `billing=7` with a level from 1 to 9 (without: 5)"
    )
    max_chats: Annotated[int, Field(ge=0, le=50)] = Field(default=3, description="chats at once")
    chats_during_call: Annotated[int, Field(ge=0, le=50)] = Field(
        default=0, description="during a call a chat is offered only while fewer are open"
    )
    max_chats_for_call: Annotated[int, Field(ge=0, le=50)] | None = Field(
        default=None, description="a call is offered only with at most so many chats open; not given: with any number"
    )
    auto_answer: bool = Field(default=False, description="work is assigned without ringing")
    phone: str | None = Field(default=None, description="sip: URI, registered user, or loopback:NAME")
    mail: str | None = Field(default=None, description="address for notices of texts, which can be answered from there")
    mail_when: Literal["away", "always", "never"] = Field(default="away", description="away: while no desk is open")


class PresetSettings(Section):
    """A text that agents have ready, beside those of the flows."""

    id: Name = Field(description="how records name it; one of a flow with the same id gives way")
    title: Mapping[str, str] = Field(min_length=1, description="what agents read, by language, as {en: Your parcel}")
    text: Mapping[str, str] = Field(min_length=1, description="what the customer gets, by language; English where one is missing")


class HoursSettings(Section):
    """Opening hours. An empty week means always open."""

    zone: str = Field(default="UTC", description="IANA time zone of the spans")
    week: Mapping[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], tuple[Span, ...]] = Field(
        default_factory=dict, description='spans like "09:00-17:30" for each day'
    )
    closed_days: tuple[str, ...] = Field(default=(), description="ISO dates of holidays and closures")
    country: str | None = Field(default=None, description="ISO country whose public holidays count as closed")
