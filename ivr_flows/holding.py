"""Waiting in line: music, honest announcements, the offer to answer questions by text, limits, keys.

Whatever is being said or asked, keys work and an agent who answers ends it at once.
"""

import math
from collections.abc import Iterator
from typing import Literal

from ivr_flows import outputs as out
from ivr_flows.expressions import Value
from ivr_flows.facts import Ewt
from ivr_flows.model import LARGEST, Announce, HoldOffer, OfferCallback, PlayMusic, Queue
from ivr_flows.sprint import PLAY_LIMIT, VERDICT_LIMIT, Asking, InLine, Line, Sprint, WithAgent

ANNOUNCE_GAP = 30.0
"""Seconds that lie between two announcements at least."""
EWT_GAP = 90.0
"""Seconds that lie between two waits that are told at least: whenever one is, some hang up (Brown et al. 2005)."""
ASK_AGAIN = 60.0
"""Seconds until the policy is asked again after it said that an offer would not help now."""
UNREACHABLE = frozenset({"number_withheld", "cannot_text", "opted_out", "no_number", "landline", "unreachable"})
"""Reasons of a verdict that say the caller cannot be texted at all."""
FINAL = UNREACHABLE | {"asked_before", "refused_before", "disabled"}
"""Reasons that will be the same a minute later."""
CHECK_STAFF = 10.0
"""Seconds between two looks at whether anybody is there, where the queue limits how long nobody is."""
_MINUTE = 60.0


# --- joining and leaving ------------------------------------------------------------------------------------------


def join(sprint: Sprint, action: Queue) -> None:
    """Stand in line, at the place the caller already has if there is one."""
    memory, now = sprint.memory, sprint.now
    since = sprint.keep_place()
    memory.typed = ""
    if memory.callback:
        memory.callback = False
        sprint.emit(out.CallbackWithdrawn())
    announce, offer, callback = _announce(action), _offer(action), _callback(action)
    memory.line = Line(
        joined=now,
        announce_at=now + announce.after if announce else None,
        callback_at=now + callback.after if callback else None,
        offer_at=now + offer.after if offer and "hold" not in memory.offered else None,
    )
    memory.wait = InLine()
    sprint.emit(
        out.JoinQueue(
            queue=action.name,
            since=since,
            priority=sprint.priority(action.priority),
            skills=sprint.asked_of_agent(action.skills),
            whisper=sprint.written(action.whisper) if action.whisper else None,
            card=sprint.card(),
        )
    )
    _music(sprint)


def requeued(sprint: Sprint) -> None:
    """An agent has handed the caller on: music and announcements as before, and nothing is offered."""
    announce = _announce(sprint.queue)
    sprint.memory.line = Line(
        joined=sprint.now, announce_at=sprint.now + announce.after if announce else None, callback_at=None, offer_at=None
    )
    sprint.memory.wait = InLine()
    _music(sprint)


def leave(sprint: Sprint, outcome: Literal["abandoned", "timed_out", "no_agents", "key", "callback"], target: str | None) -> None:
    """Leave the line without an agent, and go to *target* or the next action. The place is kept."""
    _unanswered(sprint)
    sprint.memory.line = None
    sprint.emit(out.LeaveQueue(outcome))
    sprint.onward(target)


def agent_answered(sprint: Sprint) -> None:
    """An agent is there: nothing more is said, played or asked."""
    _unanswered(sprint)
    sprint.memory.line = None
    sprint.memory.wait = WithAgent()
    if sprint.memory.asking:
        sprint.memory.asking.stopped = True


def call_ended(sprint: Sprint) -> None:
    """The caller hung up in line."""
    target = sprint.queue.then.hung_up
    if target is None:
        _unanswered(sprint)
        sprint.emit(out.LeaveQueue("abandoned"))
        sprint.end("caller_hung_up")
    else:
        sprint.memory.reason = "caller_hung_up"
        leave(sprint, "abandoned", target)


# --- time ------------------------------------------------------------------------------------------


def tick(sprint: Sprint) -> None:
    """Do everything that is due, and set the next alarm."""
    memory, now = sprint.memory, sprint.now
    line = _line(sprint)
    if line.play is not None and now >= line.play_until:
        prompt_over(sprint)
    if line.request is not None and now >= line.request_until:
        verdict(sprint, False, "no_verdict")
    if line.listen_until is not None and now >= line.listen_until:
        _unanswered(sprint)
    if _limits(sprint):
        return
    if _idle(line) and line.offer_at is not None and now >= line.offer_at:
        _ask_policy(sprint)
    if _idle(line) and line.callback_at is not None and now >= line.callback_at:
        _ask_about_callback(sprint)
    if _idle(line) and line.announce_at is not None and now >= line.announce_at:
        _say_announcement(sprint)
    memory.wake_at = min(_alarms(sprint), default=None)


def _idle(line: Line) -> bool:
    return line.play is None and line.request is None and not line.offering


def _alarms(sprint: Sprint) -> Iterator[float]:
    line, limits = _line(sprint), sprint.queue.limits
    if line.play is not None:
        yield line.play_until
    if line.request is not None:
        yield line.request_until
    if line.listen_until is not None:
        yield line.listen_until
    if _idle(line):
        yield from (due for due in (line.offer_at, line.callback_at, line.announce_at) if due is not None)
    if limits.wait is not None:
        yield line.joined + limits.wait
    if limits.no_agents is not None:
        due = sprint.now + CHECK_STAFF
        if line.unstaffed_since is not None:
            due = min(due, max(line.joined, line.unstaffed_since) + limits.no_agents)
        yield due


def _limits(sprint: Sprint) -> bool:
    """Whether a limit of the queue ended the wait."""
    action, line, now = sprint.queue, _line(sprint), sprint.now
    limits = action.limits
    if limits.wait is not None and now >= line.joined + limits.wait:
        leave(sprint, "timed_out", action.then.waited_out)
        return True
    if limits.no_agents is None:
        return False
    line.unstaffed_since = _unstaffed_since(sprint, line)
    if line.unstaffed_since is None or now < max(line.joined, line.unstaffed_since) + limits.no_agents:
        return False
    leave(sprint, "no_agents", action.then.no_agents)
    return True


def _unstaffed_since(sprint: Sprint, line: Line) -> float | None:
    desk = sprint.facts.desks.get(sprint.queue.name)
    estimate = sprint.facts.ewt.get(sprint.queue.name)
    staffed = desk.staffed if desk else not (estimate and estimate.status == "no_agents")
    if staffed:
        return None
    known = desk.unstaffed_since if desk else None
    return known if known is not None else line.unstaffed_since if line.unstaffed_since is not None else sprint.now


# --- what is said ------------------------------------------------------------------------------------------


def _say(sprint: Sprint, *prompts: out.Spoken, barge_in: bool = False) -> None:
    line = _line(sprint)
    line.play, line.play_until = sprint.play(*prompts, barge_in=barge_in), sprint.now + PLAY_LIMIT


def _music(sprint: Sprint) -> None:
    names = [item.name for item in sprint.queue.treatment if isinstance(item, PlayMusic)]
    sprint.music(names[0] if names else None)


def prompt_over(sprint: Sprint) -> None:
    """What was said is over: the music goes on, and an offer just made now waits for its key."""
    line = _line(sprint)
    line.play = None
    if line.offering:
        line.listen_until = sprint.now + sprint.flow.input.first_key
    _music(sprint)


def _say_announcement(sprint: Sprint) -> None:
    line, announce = _line(sprint), _announce(sprint.queue)
    assert announce is not None
    line.announce_at = sprint.now + max(announce.every, ANNOUNCE_GAP)
    prompts: list[out.Spoken] = []
    if "position" in announce.what:
        prompts += _position(sprint)
    if "ewt" in announce.what:
        prompts += _wait(sprint)
    if prompts:
        _say(sprint, *prompts)


def _position(sprint: Sprint) -> Iterator[out.Spoken]:
    position = sprint.facts.position
    if position is not None and 1 <= position <= LARGEST:
        spoken = sprint.spoken("queue_next" if position == 1 else "queue_position", {"position": position})
        sprint.emit(out.PositionTold(position, spoken.text))
        yield spoken


def band(ewt: Ewt | None) -> tuple[int, int] | None:
    """Minutes to be spoken: median and third quartile, both rounded up; (0, 0) is "less than a minute".

    None when no number would be honest: nothing learnt yet, nobody there, an estimate that is out of step, or a spread so
    wide (p90 more than three times the median) that a number would mislead.
    """
    if ewt is None or ewt.status in {"no_agents", "degraded"} or ewt.basis == "prior" or ewt.p50 is None or ewt.p75 is None:
        return None
    if ewt.p90 is not None and ewt.p90 > max(3 * ewt.p50, _MINUTE):
        return None
    if ewt.p75 < _MINUTE:
        return 0, 0
    low, high = max(1, math.ceil(ewt.p50 / _MINUTE)), math.ceil(ewt.p75 / _MINUTE)
    return (low, high) if high <= LARGEST else None


def _wait(sprint: Sprint) -> Iterator[out.Spoken]:
    """The wait that is left. A longer one than was promised is never told in passing: with an apology, once, or not at all."""
    memory, line, now = sprint.memory, _line(sprint), sprint.now
    remaining = sprint.facts.remaining
    minutes = band(remaining)
    if memory.told_at is not None and now < memory.told_at + EWT_GAP:
        return
    if minutes is None:
        # Of a short wait that is only uncertain it would not be true.
        if remaining is not None and not line.told_longer and (remaining.p50 is None or remaining.p50 >= _MINUTE):
            line.told_longer, memory.told_at = True, now
            spoken = sprint.spoken("ewt_longer_than_usual")
            sprint.emit(out.EwtTold(None, None, spoken.text))
            yield spoken
        return
    low, high = minutes
    promise = now + max(high, 1) * _MINUTE
    raised = memory.promise is not None and promise > memory.promise + _MINUTE
    if raised and memory.promise is not None and remaining is not None and remaining.p50 is not None:
        left = max(0.0, memory.promise - now)
        if memory.apologised or remaining.p50 <= 1.5 * left:
            return
        memory.apologised = True
        memory.promise = promise
        yield sprint.spoken("ewt_longer_than_told")
    memory.promise = promise if memory.promise is None else min(promise, memory.promise)
    memory.told_at = now
    values: dict[str, Value] = {"low": float(low), "high": float(high)}
    key = "ewt_less_than_minute" if high == 0 else "ewt_about" if low == high else "ewt_band"
    spoken = sprint.spoken(key, values)
    sprint.emit(out.EwtTold(low, high, spoken.text))
    yield spoken


# --- the offer ------------------------------------------------------------------------------------------


def _ask_policy(sprint: Sprint) -> None:
    line, offer = _line(sprint), _offer(sprint.queue)
    assert offer is not None
    if offer.when is not None:
        scope = sprint.scope()
        if not offer.when.holds(scope):
            sprint.trace(f"no offer to text now: {offer.when.source}", scope.reads)
            line.offer_at = sprint.now + ASK_AGAIN
            return
    _ask(sprint, "hold")


def _ask(sprint: Sprint, about: Literal["hold", "callback"]) -> None:
    line = _line(sprint)
    line.request, line.request_until, line.about = sprint.request(), sprint.now + VERDICT_LIMIT, about
    sprint.emit(out.AskOffer(line.request, about, sprint.queue.name, None))


def verdict(sprint: Sprint, offer_now: bool, reason: str) -> None:
    """The policy has decided: make the offer, or ask again later."""
    line = _line(sprint)
    line.request = None
    if line.about == "callback":
        _callback_verdict(sprint, offer_now, reason)
        return
    offer = _offer(sprint.queue)
    assert offer is not None
    if not offer_now:
        sprint.trace(f"no offer to text now: {reason}")
        line.offer_at = None if reason in FINAL else sprint.now + ASK_AGAIN
        return
    line.offer_at, line.offering, line.listen_until = None, True, None
    sprint.memory.offered.append("hold")
    spoken = sprint.spoken(offer.prompt)
    line.words = spoken.text
    sprint.emit(out.OfferMade("hold", offer.prompt, spoken.text))
    _say(sprint, spoken, barge_in=True)


def _unanswered(sprint: Sprint, digit: str | None = None) -> None:
    """An offer that was not accepted, if there is one, is refused for good: by another key, or by silence (*digit* None)."""
    line = sprint.memory.line
    if line is not None and line.offering:
        line.offering, line.listen_until = False, None
        sprint.emit(out.OfferAnswered("hold", "declined" if digit else "no_input", digit))


def keys(sprint: Sprint, digits: str) -> None:
    """Keys in line: they answer an offer, or leave the queue as the flow says; others do nothing."""
    for digit in digits:
        line, action = sprint.memory.line, sprint.queue
        offer = _offer(action)
        if line is not None and line.offering and offer is not None:
            playing = line.play is not None
            if digit == offer.accept:
                _accept(sprint, line, offer, digit)
                continue
            _unanswered(sprint, digit)
            if playing:
                line.play = None
                _music(sprint)
        callback = _callback(action)
        if callback is not None and digit == callback.accept and sprint.facts.can_call:
            _call_back(sprint, callback, digit)
            return
        if digit in action.keys:
            leave(sprint, "key", action.keys[digit])
            return


def _ask_about_callback(sprint: Sprint) -> None:
    line, offer = _line(sprint), _callback(sprint.queue)
    assert offer is not None
    line.callback_at = sprint.now + max(offer.every, ANNOUNCE_GAP)
    scope = sprint.scope()
    if not sprint.facts.can_call or (offer.when is not None and not offer.when.holds(scope)):
        sprint.trace("no callback offered now", {"can_call": sprint.facts.can_call, **scope.reads})
        return
    _ask(sprint, "callback")


def _callback_verdict(sprint: Sprint, offer_now: bool, reason: str) -> None:
    """Tell the caller that they can be called back, or ask again when it would be told next."""
    line, offer = _line(sprint), _callback(sprint.queue)
    assert offer is not None
    if not offer_now:
        sprint.trace(f"no callback offered now: {reason}")
        return
    if line.announce_at is not None:
        line.announce_at = max(line.announce_at, sprint.now + ANNOUNCE_GAP)
    spoken = sprint.spoken(offer.prompt)
    sprint.emit(out.OfferMade("callback", offer.prompt, spoken.text))
    _say(sprint, spoken, barge_in=True)


def _call_back(sprint: Sprint, offer: OfferCallback, digit: str) -> None:
    """The caller rather hangs up: from here on they are called back, also when they hang up before all is said."""
    action, memory = sprint.queue, sprint.memory
    memory.window = band(sprint.facts.remaining)
    memory.callback = True
    sprint.emit(
        out.OfferAnswered("callback", "accepted", digit),
        out.CallbackPromised(
            queue=action.name,
            number=None,
            since=sprint.keep_place(),
            priority=sprint.priority(action.priority),
            skills=sprint.asked_of_agent(action.skills),
            whisper=sprint.written(action.whisper) if action.whisper else None,
            card=sprint.card(),
            due_at=None,
            promised_by=None,
        ),
        out.Promised("callback"),
    )
    leave(sprint, "callback", offer.to)


def _accept(sprint: Sprint, line: Line, offer: HoldOffer, digit: str) -> None:
    memory = sprint.memory
    line.offering, line.listen_until, playing, line.play = False, None, line.play is not None, None
    sprint.agreed("hold", offer.purpose, line.words, digit)
    if not sprint.can_text:  # opted out while the question was being asked
        _could_not(sprint, offer)
        if playing and not offer.failed:
            _music(sprint)
        return
    memory.asking = Asking(memory.state, memory.index, [])
    first = offer.ask[0]
    _send(sprint, offer, f"{sprint.written(offer.hello)}\n{sprint.written(first.text)}", offer.hello, media=first.media)
    if offer.accepted:
        sprint.emit(out.Promised("text_on_its_way"))
        _say(sprint, sprint.spoken(offer.accepted))
    elif playing:
        _music(sprint)


# --- questions by text ------------------------------------------------------------------------------------------


def _send(sprint: Sprint, offer: HoldOffer, body: str, key: str, *, media: bool = False) -> None:
    asking = sprint.memory.asking
    assert asking is not None
    ref = sprint.ref()
    asking.refs.append(ref)
    sprint.emit(out.SendText(ref, key, body, sprint.memory.language, offer.purpose, "hold", offer.expires, media))


def accepts_text(sprint: Sprint, body: str, media: int) -> bool:
    """Whether a text answers the question that is open; a picture's question takes a picture or a word that skips it."""
    asking = sprint.memory.asking
    if asking is None or asking.pending is None:
        return False
    question = _asked_by(sprint, asking).ask[asking.pending]
    return bool(media) or not question.media or _skips(sprint, body)


def _skips(sprint: Sprint, body: str) -> bool:
    said = body.strip().strip(".!").casefold()
    written = (catalogue.prompts.get("skip_words") for catalogue in sprint.flow.catalogues.values())
    return any(said == word.strip().casefold() for prompt in written if prompt for word in prompt.written().split(","))


def text_received(sprint: Sprint, body: str, media: int) -> None:
    """An answer by text: keep it, and ask the next question."""
    asking = sprint.memory.asking
    assert asking is not None
    assert asking.pending is not None
    offer = _asked_by(sprint, asking)
    questions = offer.ask
    question = questions[asking.pending]
    sprint.memory.variables[question.into] = body
    sprint.emit(out.AnswerStored(question.into, body, media))
    following = asking.pending + 1
    if media and following < len(questions) and questions[following].media and not question.media:
        following += 1  # the picture has come with the words
    asking.pending = None
    if asking.stopped:
        return
    if following < len(questions):
        asking.pending = following
        question = questions[following]
        _send(sprint, offer, sprint.written(question.text), question.text, media=question.media)
    elif offer.thanks:
        _send(sprint, offer, sprint.written(offer.thanks), offer.thanks)


def text_reported(sprint: Sprint, ref: int, *, failed: bool) -> None:
    """A question has arrived, or has not: then nothing more is asked, and the caller in line is told."""
    memory = sprint.memory
    asking = memory.asking
    assert asking is not None
    asking.refs.remove(ref)
    if not failed:
        return
    asking.pending, asking.stopped = None, True
    if memory.line is not None:
        _could_not(sprint, _asked_by(sprint, asking))


def _could_not(sprint: Sprint, offer: HoldOffer) -> None:
    """The caller in line is told that no text will come."""
    if offer.failed:
        sprint.emit(out.Promised("place_kept"))
        _say(sprint, sprint.spoken(offer.failed))


def _asked_by(sprint: Sprint, asking: Asking) -> HoldOffer:
    action = sprint.flow.states[asking.state][asking.index]
    assert isinstance(action, Queue)
    offer = _offer(action)
    assert offer is not None
    return offer


# --- parts of the treatment ------------------------------------------------------------------------------------------


def _line(sprint: Sprint) -> Line:
    assert sprint.memory.line is not None
    return sprint.memory.line


def _announce(action: Queue) -> Announce | None:
    return next((item for item in action.treatment if isinstance(item, Announce)), None)


def _callback(action: Queue) -> OfferCallback | None:
    return next((item for item in action.treatment if isinstance(item, OfferCallback)), None)


def _offer(action: Queue) -> HoldOffer | None:
    return next((item for item in action.treatment if isinstance(item, HoldOffer)), None)
