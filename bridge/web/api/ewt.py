"""Expected waits, staffing plans, and how good the estimates are."""

from typing import TypeVar

import msgspec

from bridge.events import SessionId
from bridge.web.api import ewt_models as m
from bridge.web.api.models import Answer
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.problems import Fault, ProblemError
from bridge.web.ports_ewt import PlanStep, UnknownLineError

WEEK = 7 * 86_400.0
LONGEST_RANGE = 366 * 86_400.0
"""Seconds of outcomes that one request may ask for."""
AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


class WaitingTimes:
    """The operations on waiting times."""

    def __init__(self, behind: Behind) -> None:
        self._waits = behind.waits
        self._now = behind.now

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (*self._of_waits(), *self._of_plans())

    def _of_waits(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/queues/{id}/ewt",
                name="queueEwt",
                summary="The expected wait of a customer who joined this queue now",
                scope="ewt.read",
                handler=self._queue,
                query=m.QueueWaitQuery,
                answer=m.QueueWait,
                problems=("not_found",),
            ),
            Operation(
                method="GET",
                path="/contacts/{id}/ewt",
                name="contactEwt",
                summary="What is left of the wait of a session that stands in line",
                scope="ewt.read",
                handler=self._contact,
                answer=m.ContactWait,
                problems=("not_found",),
            ),
            Operation(
                method="GET",
                path="/wait_times",
                name="waitTimes",
                summary="The expected wait of every queue, at most a second old",
                scope="ewt.read",
                handler=self._all,
                query=m.WaitsQuery,
                answer=m.Waits,
                fresh_for=1,
            ),
            Operation(
                method="GET",
                path="/ewt/calibration",
                name="ewtCalibration",
                summary="How good the forecasts were: coverage, bias, reliability, by queue and half-hour",
                scope="ewt.read",
                handler=self._calibration,
                query=m.CalibrationQuery,
                answer=m.Calibration,
                problems=("not_found",),
            ),
        )

    def _of_plans(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/queues/{id}/ewt/plan",
                name="staffingPlan",
                summary="The coming staff of a queue, as far as it was said",
                scope="ewt.read",
                handler=self._plan,
                answer=m.Plan,
                problems=("not_found",),
            ),
            Operation(
                method="POST",
                path="/queues/{id}/ewt/plan",
                name="setStaffingPlan",
                summary="Say how many agents, or places for chats, there will be; replaces what was planned",
                scope="ewt.write",
                handler=self._set_plan,
                body=m.NewPlan,
                answer=m.Plan,
                problems=("not_found",),
            ),
            Operation(
                method="DELETE",
                path="/queues/{id}/ewt/plan",
                name="clearStaffingPlan",
                summary="Forget the staffing plan",
                scope="ewt.write",
                handler=self._clear_plan,
                problems=("not_found",),
            ),
            Operation(
                method="POST",
                path="/ewt/resync",
                name="ewtResync",
                summary="Tell the estimator anew who works and who waits, as the floor has it; again it changes nothing",
                scope="ewt.write",
                handler=self._resync,
                answer=m.Resynced,
            ),
        )

    async def _queue(self, call: Call) -> m.QueueWait:
        asked: m.QueueWaitQuery = call.query
        try:
            return _as(m.QueueWait, self._waits.queue(call.path["id"], asked.priority))
        except UnknownLineError as error:
            raise ProblemError("not_found", str(error)) from error

    async def _contact(self, call: Call) -> m.ContactWait:
        wait = self._waits.contact(SessionId(call.path["id"]))
        if wait is None:
            raise ProblemError("not_found", "No session of this id stands in line.")
        return _as(m.ContactWait, wait)

    async def _all(self, call: Call) -> m.Waits:
        asked: m.WaitsQuery = call.query
        return m.Waits(
            queues={
                wait.queue: _as(m.QueueWait, wait)
                for wait in await self._waits.queues()
                if asked.channel in {None, wait.channel}
                and (asked.language is None or not wait.languages or asked.language in wait.languages)
            }
        )

    async def _calibration(self, call: Call) -> m.Calibration:
        asked: m.CalibrationQuery = call.query
        until = self._now() if asked.until is None else asked.until
        since = until - WEEK if asked.since is None else asked.since
        if not 0 <= until - since <= LONGEST_RANGE:
            fault = Fault("since has to lie before until, a year at most.", parameter="since")
            raise ProblemError("parameters", errors=(fault,))
        try:
            return _as(m.Calibration, await self._waits.calibration(since, until, asked.queue))
        except UnknownLineError as error:
            raise ProblemError("not_found", str(error)) from error

    async def _plan(self, call: Call) -> m.Plan:
        queue = call.path["id"]
        try:
            plan = self._waits.plan(queue)
        except UnknownLineError as error:
            raise ProblemError("not_found", str(error)) from error
        return m.Plan(queue=queue, steps=(), set_at=None, by=None) if plan is None else _as(m.Plan, plan)

    async def _set_plan(self, call: Call) -> m.Plan:
        asked: m.NewPlan = call.body
        await self._replace(call, [PlanStep(step.at, step.capacity) for step in asked.steps])
        return await self._plan(call)

    async def _clear_plan(self, call: Call) -> None:
        await self._replace(call, [])

    async def _resync(self, _call: Call) -> m.Resynced:
        return _as(m.Resynced, await self._waits.resync())

    async def _replace(self, call: Call, steps: list[PlanStep]) -> None:
        try:
            await self._waits.set_plan(call.path["id"], steps, call.key.author)
        except UnknownLineError as error:
            raise ProblemError("not_found", str(error)) from error


def _as(model: type[AnyAnswer], struct: msgspec.Struct) -> AnyAnswer:
    return model.model_validate(msgspec.to_builtins(struct, str_keys=True))
