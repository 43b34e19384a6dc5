"""The offer policy behind the interface of a benchmark of offers, which makes `Policy(candidate, sms_queue)` and asks it."""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import structs

from bridge.offers import Circumstances, OfferPolicy, QueueRules
from ewt.estimator import Estimator
from ewt.forecast import Forecast


class HasEstimator(Protocol):
    """The candidate of `ewt_adapter`."""

    estimator: Estimator


class Policy:
    """The offer policy under test, alone or with another's estimate of the call's wait (*voice*)."""

    def __init__(
        self,
        est: HasEstimator,
        sms: str,
        *,
        off: float = 0.8,
        dwell: float = 30.0,
        guard: bool = True,
        lag: float = 30.0,
        voice: Callable[[float, str, int], Any] | None = None,
    ) -> None:
        self._estimator, self._sms, self._voice = est.estimator, sms, voice
        self._rules = QueueRules(stay=off, dwell=dwell, reserve=lag)
        if not guard:
            self._rules = structs.replace(self._rules, margin=-1e9, sms_max=1e9, surely=0.0)
        self._policy = OfferPolicy({"v": self._rules})
        self._at = 0.0

    @property
    def flips(self) -> int:
        return self._policy.switches

    def decide(self, t: float, q: str, prio: int) -> tuple[bool, str]:
        sms = self._estimator.forecast(t, self._sms, 1, extra=self._policy.reserved(t))
        voice = self._estimator.forecast(t, q, prio) if self._voice is None else _as_forecast(self._voice(t, q, prio))
        self._at = t
        decision = self._policy.decide(
            "deflect", t, q, voice, sms, Circumstances("+15550100200", can_text=True, sms_staffed=True)
        )
        return decision.offer, decision.reason

    def answered(self, accepted: bool) -> None:
        self._policy.answered("v", accepted, self._at)


def _as_forecast(wait: float) -> Forecast:
    return Forecast("ok", "learned", wait, wait, wait, wait, wait, wait)
