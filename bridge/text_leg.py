"""The text leg: what follows from a text of the customer's, from what becomes of ours, and from nobody writing.

Part of `bridge.session.Session`, which owns the call leg and the flow. Whatever waits here waits in `State.timers`, so
that every time-out survives a restart.
"""

import msgspec

from bridge import events as e
from bridge.chat import ChatSide
from bridge.conversation import AGENT_TEXT, INTRODUCING, Facts, Suspicion
from bridge.legs import LIVE, TALKING, TEXT, TextLeg
from ivr_flows import outputs as o
from sms.menu import Menu, Step

_DELIVERED = frozenset({"delivered", "read"})
_FAILED = frozenset({"undelivered", "failed", "canceled"})
ANSWER_AGAIN = 60.0
"""Seconds between two answers to START, and two to HELP."""
CONFIRM_WITHIN = 300.0
"""Seconds after a wish for no more texts in which one text may confirm it (47 CFR 64.1200(a)(12))."""


class TextSide(ChatSide):
    """The text leg's half of a session."""

    # --- who may write

    def composer(self, agent: e.AgentId) -> str | None:
        """Why *agent* may not text the customer now, in words fit to show; None when they may."""
        state = self.state
        why = self._why_silent()
        if why is not None:
            return why
        on_call = agent == state.agent and state.call in TALKING
        if on_call or (agent in state.wrapping and state.closed_at is None) or agent == state.chat_agent:
            return None
        return "You are not connected to this customer."

    def _why_silent(self) -> str | None:
        state = self.state
        if state.text is TextLeg.OPTED_OUT:
            return "The customer sent STOP. Texting opens again when they send START."
        if self._recipient is None:
            return "The caller withheld the number, so there is nowhere to text."
        if state.why_not_text is not None and state.texts_to is None:
            return state.why_not_text
        if state.suspected is not None:
            return "The customer may have asked for no more texts. Say first whether they did."
        return None

    def _suspected_before(self) -> None:
        """What an agent has to judge stands in the timeline, also when it was written in a conversation before this one."""
        suspicion = self.state.suspected
        if suspicion is not None:
            self._record("stop.suspected", message=suspicion.evidence.removeprefix("message "), body=suspicion.words)

    # --- what the customer writes

    def _text_arrived(self, event: e.TextArrived, facts: Facts, now: float) -> None:
        state = self.state
        self._record(
            "text.received",
            message=event.message,
            body=event.body,
            media=[msgspec.to_builtins(item) for item in event.media],
            media_lost=event.media_lost,
            keyword=event.keyword,
            confidence=event.confidence,
            why=event.why,
            sender=event.sender if event.sender != state.customer else None,
        )
        self._written_from(event)
        was = state.text
        self._move_text(e.TextArrived)
        if was is TextLeg.NONE and state.leg is None:
            self._suspected_before()
        taken_back = self._takes_back(event.body)
        if event.keyword is not None:
            self._keyword(event, event.keyword, facts, now, invited=was is TextLeg.INVITED)
            return
        if taken_back:
            self._say("callback_cancelled")
            return
        if state.text is TextLeg.OPTED_OUT:
            return
        if event.suspicious and state.suspected is None:
            self._suspect(event, facts, now)
        self._customer_wrote(was, event.body, len(event.media), facts, now)
        for told in [sent for sent in self._out if isinstance(sent, e.SendText) and sent.preset in INTRODUCING]:
            self._agreed_by_writing(event, told)

    def _agreed_by_writing(self, event: e.TextArrived, told: e.SendText) -> None:
        """Who writes to us agrees to be answered; kept with what they were told then."""
        evidence, version = f"message {event.message}", None if self._menu is None else self._menu.revision
        self._out.append(
            e.RecordConsent(
                event.sender, "session", True, told.body, self.state.language, evidence, event.recipient, told.preset, version
            )
        )

    def _written_from(self, event: e.TextArrived) -> None:
        """Texts go back to the phone that wrote last."""
        state = self.state
        if event.sender == state.customer:
            state.why_not_text = None  # whatever the numbering plan says: this phone has just texted
        state.texts_to = None if event.sender == state.customer else event.sender
        if state.texts_to is not None and event.sender not in state.aliases:
            state.aliases.append(event.sender)
            state.strangers.append(event.sender)
            self._record("sender.added", number=event.sender, why=event.why)

    def _customer_wrote(self, was: TextLeg, body: str, media: int, facts: Facts, now: float) -> None:
        """Bring what the customer sent to whoever it is for.

        Args:
            was: The text leg before it came.
            body: Words; empty for pictures alone.
            media: How many pictures.
            facts: What the flow and the menu may read.
            now: Seconds since the epoch.
        """
        state = self.state
        if was is TextLeg.CHATTING:
            self._wrote_in_chat(body, now)
        elif state.call in LIVE:
            self._wrote_in_call(was, body, media, facts, now)
        elif was is TextLeg.QUEUED:
            self._wrote_in_line(body, facts, now)
        elif was is TextLeg.CHOOSING:
            self._choose(body, facts, now)
        elif was is not TextLeg.NONE and self._leaves(body):
            self._say("bye")
            state.unanswered = False
            self._close_text(state.reason or "left", now)
        elif was is TextLeg.DISMISSED:
            self._return(facts, now)
        elif state.wrapping:
            state.unanswered = True
            state.timers["wrap_up"] = min(state.timers["wrap_up"], now + self._limits.wrap_up_reply)
        elif "reopen" in state.timers:
            self._record("chat.reopened")
            self._join_desk(facts, now, greet=False, back_to=state.prefer)
        elif self._menu is not None and self._begins(was):
            self._enter(self._menu, body, facts, now)
        else:
            answers_program = was is TextLeg.INVITED and state.service == "api"
            told = self._is_introduced(now) and was is not TextLeg.NONE and not answers_program
            self._join_desk(facts, now, greet=not told, back_to=state.prefer)

    def _begins(self, was: TextLeg) -> bool:
        """Whether a text is the first that says what the customer wants; HELP and START do not."""
        state = self.state
        asked_first = was in {TextLeg.NONE, TextLeg.OPEN} and state.service in {"inbound", "direct"}
        return asked_first and state.leg is None and state.chat_queue is None and state.suspected is None

    def _leaves(self, body: str) -> bool:
        return self._menu is not None and self._menu.command(body) == "exit"

    def _wrote_in_call(self, was: TextLeg, body: str, media: int, facts: Facts, now: float) -> None:
        state = self.state
        if was is TextLeg.INVITED:
            state.unanswered = state.call not in TALKING
            self._reply_is_delivery(facts, now)
        elif not self._resume(o.TextReceived(body, media), facts, now) and state.call not in TALKING:
            state.unanswered = True

    def _wrote_in_chat(self, body: str, now: float) -> None:
        state = self.state
        if self._leaves(body):
            self._say("bye")
            self._chat_ended("customer", now)
            return
        state.heard, state.answered = True, False
        state.timers.pop("dismiss", None)
        self._chat_clock(now)

    def _wrote_in_line(self, body: str, facts: Facts, now: float) -> None:
        """EXIT holds in the line too, and BACK for who came by the menu; anything else is for the agent to come."""
        state, menu = self.state, self._menu
        command = None if menu is None else menu.command(body)
        if menu is None or command is None or state.chat_queue is None:
            return
        if command == "exit":
            self._say("bye")
            self._stop_waiting("closed")
            self._close_text("left", now)
        elif self._came_by_the_menu:
            self._stop_waiting("closed")
            self._follow_menu(menu.back_from(state.chat_queue, state.language, facts.menu), body, facts, now)

    @property
    def _came_by_the_menu(self) -> bool:
        """To whoever an agent has served, "back" is a word like any other: it must not cost them their place."""
        state = self.state
        return state.service == "inbound" and state.leg is None and state.first_agent_at is None and state.suspected is None

    def _suspect(self, event: e.TextArrived, facts: Facts, now: float) -> None:
        """It sounds like a wish to be left alone: nothing goes out until an agent has read it (47 CFR 64.1200(a)(10))."""
        state = self.state
        invited = state.text is TextLeg.INVITED
        evidence = f"message {event.message}"
        state.suspected = Suspicion(event.sender, evidence, event.body, now)
        self._out.append(e.OptOut(event.sender, event.recipient, evidence, provisional=True))
        self._record("stop.suspected", message=event.message, body=event.body)
        if invited:
            self._back_to_the_call(facts, now)

    def _opt_out_judged(self, event: e.OptOutJudged, facts: Facts, now: float) -> None:
        state, suspicion = self.state, self.state.suspected
        assert suspicion is not None
        evidence = f"{suspicion.evidence}, judged by {event.agent}"
        state.suspected = None
        self._record("stop.judged", name=self._name(event.agent), meant=event.meant)
        if event.meant:
            state.texts_to = None if suspicion.number == state.customer else suspicion.number
            confirm = now - suspicion.at <= CONFIRM_WITHIN
            self._opt_out(suspicion.number, evidence, None, facts, now, confirm=confirm)
        else:
            self._out.append(e.OptIn(suspicion.number, state.our_number, evidence))

    def _media_uploaded(self, event: e.MediaUploaded, facts: Facts, now: float) -> None:
        if self._said_before(f"upload {event.token}"):
            return  # the answer was lost, so the customer's phone sent them again
        was = self.state.text
        self._record(
            "media.uploaded",
            token=event.token,
            media=[msgspec.to_builtins(item) for item in event.media],
            refused=event.refused,
        )
        if event.media and was not in {TextLeg.OPTED_OUT, TextLeg.CHOOSING}:
            self._move_text(e.TextArrived)
            self._customer_wrote(was, "", len(event.media), facts, now)

    def _reply_is_delivery(self, facts: Facts, now: float) -> None:
        """A reply can overtake the delivery report; the text must have arrived, so the caller need not wait for it."""
        for ref in list(self.state.refs.values()):
            self._resume(o.TextDelivered(ref), facts, now)

    # --- the menu

    def _enter(self, menu: Menu, body: str, facts: Facts, now: float) -> None:
        state = self.state
        queue = state.desk if state.direct is not None else None
        step = menu.enter(body, language=state.language, introduced=self._is_introduced(now), facts=facts.menu, queue=queue)
        self._follow_menu(step, body, facts, now)

    def _choose(self, body: str, facts: Facts, now: float) -> None:
        state = self.state
        if self._menu is None or state.place is None or state.suspected is not None:
            # The number has no menu any more, or an agent has to read this.
            self._join_desk(facts, now, greet=False)
        else:
            self._follow_menu(self._menu.reply(state.place, body, facts.menu), body, facts, now)

    def _follow_menu(self, step: Step, body: str, facts: Facts, now: float) -> None:
        state = self.state
        self._record("menu.answered", body=body, titles=list(step.titles), why=step.why)
        if step.language != state.language:
            state.language = step.language
            self._record("language.chosen", language=step.language, by="text")
        state.place, state.path = step.place, list(step.titles)
        if step.ended:
            self._say_all(step.says)
            self._close_text("left", now)
        elif step.queue is not None:
            self._say_all(step.says)
            state.desk = e.QueueId(step.queue)
            self._join_desk(facts, now, greet=False)
        else:
            self._move_text(e.OfferMenu)
            self._say_all(step.says)
            state.timers["text"] = now + self._limits.menu

    # --- STOP, START, HELP

    def _keyword(self, event: e.TextArrived, keyword: e.Keyword, facts: Facts, now: float, *, invited: bool) -> None:
        state = self.state
        evidence = f"message {event.message}"
        match keyword:
            case "stop" if state.text is not TextLeg.OPTED_OUT:
                confirm = not event.answered_by_provider
                self._opt_out(event.sender, evidence, event.body.strip(), facts, now, confirm=confirm, invited=invited)
            case "start":
                if state.suspected is not None and state.suspected.number == event.sender:
                    state.suspected = None
                self._out.append(e.OptIn(event.sender, event.recipient, evidence))
                self._record("opted_in", word=event.body.strip())
                if state.text is TextLeg.OPTED_OUT:
                    self._move_text(e.OptIn)
                    state.reason = None
                if not event.answered_by_provider:
                    self._answer_owed("start", now)
            case "help" if not event.answered_by_provider:
                self._answer_owed("help", now)
            case _:
                pass
        if state.call not in LIVE and state.text is TextLeg.OPEN:
            state.timers["text"] = now + self._limits.open_window

    def _answer_owed(self, keyword: e.Keyword, now: float) -> None:
        """Answer START or HELP, once in a while: two machines would go on for ever."""
        if now - self.state.owed_at.get(keyword, -ANSWER_AGAIN) >= ANSWER_AGAIN:
            self.state.owed_at[keyword] = now
            self._say(keyword, required=True, priority=AGENT_TEXT)

    def _opt_out(
        self,
        number: str,
        evidence: str,
        word: str | None,
        facts: Facts,
        now: float,
        *,
        confirm: bool,
        invited: bool | None = None,
    ) -> None:
        """Stop all texts to *number*; one text confirms it (47 CFR 64.1200(a)(12))."""
        invited = self.state.text is TextLeg.INVITED if invited is None else invited
        self._leave_text(now)
        self._move_text(e.OptOut)
        self._out.append(e.OptOut(number, self.state.our_number, evidence))
        self._record("opted_out", word=word)
        if confirm:
            self._say("stop", required=True, priority=AGENT_TEXT)
        if invited:
            self._back_to_the_call(facts, now)

    def _back_to_the_call(self, facts: Facts, now: float) -> None:
        """A caller who wants no texts must not be left without a call either."""
        for ref in list(self.state.refs.values()):
            self._resume(o.TextFailed(ref, "opted_out"), facts, now)

    def _opt_out_changed(self, event: e.OptOutChanged, facts: Facts, now: float) -> None:
        """What the customer wrote in another conversation holds here too; the ledger has it already."""
        was = self.state.text
        if event.opted_out and was is not TextLeg.OPTED_OUT:
            self._leave_text(now)
            self._move_text(e.OptOut)
            self._record("opted_out", word=None)
            if was is TextLeg.INVITED:
                self._back_to_the_call(facts, now)
        elif not event.opted_out:
            state = self.state
            state.suspected = None
            if was is TextLeg.OPTED_OUT:
                self._move_text(e.OptIn)
                state.reason = None
                self._record("opted_in", word=None)

    # --- what becomes of our texts

    def _text_rejected(self, event: e.TextRejected, facts: Facts, now: float) -> None:
        self._record("text.failed", message=event.message, code=event.code, explanation=event.explanation)
        if event.error_class == "opted_out" and event.code != e.SUPPRESSED:
            self._learnt_opt_out(event, now)
        self._not_delivered(event.message, event.error_class, facts, now)

    def _learnt_opt_out(self, event: e.TextRejected, now: float) -> None:
        """Whoever carries our texts knows of a STOP that we have not seen."""
        state = self.state
        number = state.elsewhere.get(event.message, state.customer)
        if number is None or state.text is TextLeg.OPTED_OUT:
            return
        self._out.append(e.OptOut(number, state.our_number, f"provider code {event.code}"))
        if number != self._recipient:
            return  # the conversation goes on with another phone
        self._leave_text(now)
        self._move_text(e.OptOut)
        self._record("opted_out", word="(known to the provider)")

    def _text_reported(self, event: e.TextReported, facts: Facts, now: float) -> None:
        if event.state in _FAILED:
            self._record("text.failed", message=event.message, code=event.code, explanation=event.state)
            self._not_delivered(event.message, event.code or event.state, facts, now)
        elif event.state in _DELIVERED and event.message in self.state.refs:
            self._resume(o.TextDelivered(self.state.refs[event.message]), facts, now)

    def _not_delivered(self, message: e.MessageId, why: str, facts: Facts, now: float) -> None:
        state = self.state
        ref = state.refs.get(message)
        if state.introduction is not None and state.introduction.message == message:
            state.introduction = None
        if ref is not None:
            self._resume(o.TextFailed(ref, why), facts, now)
        elif message in state.invitations:
            state.invitations.remove(message)
            if not state.invitations and state.text is TextLeg.INVITED and state.call not in LIVE:
                self._close_text("not delivered", now)

    # --- nobody wrote

    def _text_timed_out(self, facts: Facts, now: float) -> None:
        """The text leg has waited long enough."""
        state = self.state
        match state.text:
            case TextLeg.QUEUED:
                self._record("chat.expired")
                self._say("expired")
                self._stop_waiting("timed_out")
                self._close_text("nobody answered", now)
            case TextLeg.CHATTING:
                agent = state.chat_agent
                assert agent is not None
                silent = "customer silent" if state.answered else "agent silent"
                # Who was waiting for us is not told that it was they who did not write, and who never wrote is told nothing.
                if state.heard:
                    self._say("timed_out" if state.answered else "expired")
                self._release(agent, "sms", wrap_up=False, now=now)
                self._record("chat.ended", by="timeout", name=None)
                self._close_text(silent, now)
                self._may_come_back(agent, silent, now)
            case TextLeg.DISMISSED:
                self._record("chat.ended", by="timeout", name=None)
                self._close_text("customer silent", now)
            case _:
                if self._nobody_left(facts, now):
                    return
                self._record("text.lapsed", invited=state.text is TextLeg.INVITED)
                self._close_text(self._lapsed, now)
        state.unanswered = False

    @property
    def _lapsed(self) -> str:
        """How a session ends in which no text came any more."""
        state = self.state
        match state.text:
            case TextLeg.CHOOSING:
                return "menu not answered"
            case TextLeg.INVITED:
                return "no answer"
            case _:
                return state.reason or ("no answer" if state.leg is None else "call over")

    def _warn(self) -> None:
        """The chat is about to be closed because the customer is silent."""
        state = self.state
        if state.text is not TextLeg.CHATTING or not (state.heard and state.answered):
            return
        minutes = max(1, round(self._limits.of(state.chat_queue).warn_before / 60))
        self._record("chat.warned", minutes=minutes)
        self._say("warning", minutes=minutes)

    def _nobody_left(self, facts: Facts, now: float) -> bool:
        """Nobody who has the call can answer the customer's text any more: it goes to the desk instead of being forgotten."""
        state = self.state
        can_join = state.desk is not None and state.text is not TextLeg.QUEUED and e.JoinQueue in TEXT[state.text]
        if not state.unanswered or state.call in LIVE or not can_join:
            return False
        self._join_desk(facts, now, greet=not self._is_introduced(now), back_to=state.prefer)
        return True
