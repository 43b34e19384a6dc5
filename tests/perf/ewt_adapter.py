"""The estimator behind the interface of an estimator benchmark. Like the estimator it needs nothing but Python.

Such a benchmark makes `Candidate(state, public)` with `public.queues` (id, channel), `public.prior_aht`,
`public.prior_patience` and `public.plan`, tells it events and asks for forecasts.
"""

from collections.abc import Iterable
from typing import Any

from ewt.estimator import Estimator, QueueSpec
from ewt.forecast import Forecast


class Candidate:
    """One estimator under test."""

    name = "sidetone"

    def __init__(self, _state: object, public: Any) -> None:
        self.estimator = Estimator(QueueSpec(q.id, q.channel, public.prior_aht, public.prior_patience) for q in public.queues)
        self._queues = [q.id for q in public.queues]
        self.sc = public
        self._plan = public.plan
        self._in_hand: dict[tuple[str, str], list[str]] = {}

    def on_login(self, t: float, aid: str, skills: Iterable[str], slots: int) -> None:
        self.estimator.login(t, aid, skills, max(1, slots))

    def on_logout(self, t: float, aid: str) -> None:
        self.estimator.logout(t, aid)

    def on_capacity(self, t: float, aid: str, voice_free: bool, chat_free: bool) -> None:
        self.estimator.capacity(t, aid, int(voice_free), int(chat_free))

    def on_join(self, t: float, cid: object, q: str, prio: int) -> None:
        self.estimator.joined(t, str(cid), q, prio)

    def on_start(self, t: float, cid: object, q: str, _prio: int, aid: str, _wait: float) -> None:
        self._in_hand.setdefault((aid, q), []).append(str(cid))
        self.estimator.started(t, str(cid), aid)

    def on_abandon(self, t: float, cid: object, _q: str, _prio: int, _wait: float) -> None:
        self.estimator.abandoned(t, str(cid))

    def on_end(self, t: float, cid: object, q: str, aid: str, _duration: float) -> None:
        """Some benchmarks do not say which contact ended: then it is the agent's oldest."""
        in_hand = self._in_hand.get((aid, q), [])
        if in_hand:
            ended = str(cid) if str(cid) in in_hand else in_hand[0]
            in_hand.remove(ended)
            self.estimator.ended(t, ended, aid)

    def forecast(self, t: float, q: str, prio: int, extra: float = 0.0) -> dict[str, Any]:
        if self._plan is not None:
            self.estimator.plan(q, self._plan(t, q))
        return _plain(self.estimator.forecast(t, q, prio, extra))

    def forecast_waiting(self, t: float, cid: object) -> dict[str, Any]:
        return _plain(self.estimator.forecast_waiting(t, str(cid)))


def _plain(forecast: Forecast) -> dict[str, Any]:
    return {
        "p10": forecast.p10,
        "p50": forecast.p50,
        "p90": forecast.p90,
        "mean": forecast.mean,
        "prob": forecast.prob,
    }
