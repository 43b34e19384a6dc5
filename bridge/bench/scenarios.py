"""Days that contact centres have, by plain names. Nothing in the estimator is fitted to them."""

from collections.abc import Mapping
from types import MappingProxyType

from bridge.bench.centre import HOUR, Line, Scenario, Steps, Team

_DAY = (0.5, 0.75, 1.0, 1.1, 0.95, 0.75, 0.9, 1.05, 0.85, 0.55)
"""How busy the hours of a day are, by the busiest but one."""


def _day(peak: float) -> Steps:
    return tuple((hour * HOUR, peak * share) for hour, share in enumerate(_DAY))


def _scenarios() -> tuple[Scenario, ...]:
    return (
        Scenario(
            "small-team",
            "Four agents on a day with two peaks",
            10 * HOUR,
            (Line("support", _day(66), 225, patience=330),),
            (Team(("support",), ((0, 4),)),),
        ),
        Scenario(
            "big-pool",
            "Fifty agents, more calls than they can take at noon",
            10 * HOUR,
            (Line("support", _day(620), 310, spread=1.2, patience=270),),
            (Team(("support",), ((0, 50),)),),
        ),
        Scenario(
            "skills",
            "Four queues shared by teams that overlap",
            10 * HOUR,
            (
                Line("orders", _day(150), 190, urgent=((0, 0.12), (1, 0.88))),
                Line("billing", _day(92), 340),
                Line("technical", _day(50), 480, spread=1.3, patience=420),
                Line("returns", _day(74), 160),
            ),
            (
                Team(("orders",), ((0, 4), (4 * HOUR, 3), (5 * HOUR, 4))),
                Team(("orders", "billing"), ((0, 6),)),
                Team(("billing", "technical"), ((0, 5),)),
                Team(("technical",), ((0, 2),)),
                Team(("returns", "orders"), ((0, 3),)),
                Team(("orders", "billing", "technical", "returns"), ((0, 4),)),
            ),
        ),
        Scenario(
            "blended",
            "Phones and chats, some agents do both",
            10 * HOUR,
            (
                Line("support", _day(190), 250, urgent=((0, 0.1), (1, 0.9))),
                Line("chats", _day(80), 660, channel="sms", spread=0.9, patience=1200),
            ),
            (
                Team(("support",), ((0, 7),)),
                Team(("support", "chats"), ((0, 7),), chats=3),
                Team(("chats",), ((0, 3),), chats=4),
            ),
        ),
        Scenario(
            "chat-desk",
            "A desk for texts alone, with breaks",
            10 * HOUR,
            (Line("chats", _day(64), 780, channel="sms", spread=0.9, patience=900),),
            (Team(("chats",), ((0, 5), (3 * HOUR, 3), (4 * HOUR, 5)), chats=3),),
        ),
        Scenario(
            "surge",
            "A mailing and a fault: many times the calls for a while",
            9 * HOUR,
            (
                Line(
                    "support",
                    (
                        (0, 160),
                        (1.5 * HOUR, 540),
                        (1.5 * HOUR + 1200, 160),
                        (4 * HOUR, 380),
                        (4.6 * HOUR, 160),
                        (6.5 * HOUR, 700),
                        (6.5 * HOUR + 600, 160),
                    ),
                    230,
                    patience=480,
                    hasty=0.3,
                ),
            ),
            (Team(("support",), ((0, 13),)),),
        ),
        Scenario(
            "breaks",
            "Lunch in turns, a meeting of all, a shift that begins late",
            9 * HOUR,
            (Line("support", ((0, 140),), 215, patience=450),),
            (
                Team(
                    ("support",),
                    (
                        (0, 10),
                        (1.2 * HOUR, 6),
                        (2 * HOUR, 10),
                        (3 * HOUR, 0),
                        (3 * HOUR + 600, 11),
                        (5 * HOUR, 4),
                        (5.6 * HOUR, 12),
                        (7.2 * HOUR, 0),
                        (7.2 * HOUR + 300, 9),
                    ),
                ),
            ),
        ),
        Scenario(
            "slow-calls",
            "Calls take twice as long for an hour or two",
            10 * HOUR,
            (
                Line(
                    "support",
                    ((0, 260),),
                    190,
                    handle_factor=((0, 1), (2.5 * HOUR, 1.8), (4 * HOUR, 1), (6.5 * HOUR, 2.2), (7.5 * HOUR, 1)),
                ),
            ),
            (Team(("support",), ((0, 16),)),),
        ),
        Scenario(
            "first-morning",
            "No past, and a guess of the handling time that is less than half of it",
            1.5 * HOUR,
            (Line("support", ((0, 92),), 400, spread=0.9, patience=650),),
            (Team(("support",), ((0, 7),)),),
            aht_guess=170,
            patience_guess=200,
        ),
        Scenario(
            "priorities",
            "Three classes of callers, the more urgent always first",
            10 * HOUR,
            (Line("support", _day(178), 260, patience=420, urgent=((0, 0.2), (1, 0.6), (2, 0.2))),),
            (Team(("support",), ((0, 12),)),),
        ),
    )


SCENARIOS: Mapping[str, Scenario] = MappingProxyType({scenario.name: scenario for scenario in _scenarios()})
"""By name."""
