"""Taking keys: menus, digits, the language, the answer to a deflection offer.

The vocabulary is VoiceXML's: first-key and inter-digit timeouts, barge-in, no-input and no-match counted apart, each with
prompts of its own and a named way out. Counters begin anew whenever the action is entered.
"""

from msgspec import structs

from ivr_flows import outputs as out
from ivr_flows.model import ChooseLanguage, Collect, Menu, OfferSms, Retry
from ivr_flows.sprint import PLAY_LIMIT, TYPED_AHEAD, ForKeys, Sprint

COUNTRIES = {
    "fr": frozenset({"FR", "BE", "CH", "LU", "MC", "SN", "CI", "HT"}),
    "es": frozenset({"ES", "MX", "AR", "CO", "PE", "CL", "EC", "GT", "DO", "UY", "PY", "BO", "CR", "PA", "HN", "SV", "NI", "VE"}),
    "en": frozenset({"US", "CA", "GB", "IE", "AU", "NZ"}),
}
"""A first guess at what is spoken where; the caller has the last word."""


# --- beginning ---------------------------------------------------------------------------------------------------------


def begin(sprint: Sprint, action: Menu | Collect | ChooseLanguage) -> None:
    """Ask, or take what was typed ahead."""
    if isinstance(action, ChooseLanguage):
        _guess(sprint, action)
    _listen(sprint, ForKeys(None, 0.0), _question(sprint))


def offer(sprint: Sprint, action: OfferSms) -> None:
    """Make a deflection offer."""
    spoken = sprint.spoken(action.prompt)
    sprint.memory.offered.append("deflect")
    sprint.emit(out.OfferMade("deflect", action.prompt, spoken.text))
    _listen(sprint, ForKeys(None, 0.0), (spoken,))


def _question(sprint: Sprint) -> tuple[out.Spoken, ...]:
    action = sprint.action
    assert isinstance(action, Menu | Collect | ChooseLanguage | OfferSms)
    if isinstance(action, ChooseLanguage):
        return tuple(sprint.spoken(action.prompt, language=language) for language in dict.fromkeys(action.keys.values()))
    return (sprint.spoken(action.prompt),)


def _listen(sprint: Sprint, wait: ForKeys, prompts: tuple[out.Spoken, ...]) -> None:
    memory, action = sprint.memory, sprint.action
    typed, memory.typed = memory.typed, ""
    barge_in = getattr(action, "barge_in", True)
    if typed and barge_in:
        memory.wait = structs.replace(wait, play=None, until=sprint.now + _first_key(sprint), barge_in=True)
        keys(sprint, memory.wait, typed)
    else:
        memory.typed = typed
        play = sprint.play(*prompts, barge_in=barge_in)
        memory.wait = structs.replace(wait, play=play, until=sprint.now + PLAY_LIMIT, barge_in=barge_in, digits="")


def _first_key(sprint: Sprint) -> float:
    own: float | None = getattr(sprint.action, "first_key", None)
    return sprint.flow.input.first_key if own is None else own


# --- what happens then ---------------------------------------------------------------------------------------------------


def prompt_over(sprint: Sprint, wait: ForKeys) -> None:
    """The question has been asked: the first key is due within its time-out."""
    memory = sprint.memory
    memory.wait = structs.replace(wait, play=None, until=sprint.now + _first_key(sprint))
    if memory.typed:
        typed, memory.typed = memory.typed, ""
        keys(sprint, memory.wait, typed)


def keys(sprint: Sprint, wait: ForKeys, digits: str) -> None:
    """The caller pressed something."""
    memory = sprint.memory
    if wait.play is not None and not wait.barge_in:
        memory.typed = (memory.typed + digits)[:TYPED_AHEAD]
        return
    action = sprint.action
    if isinstance(action, Collect):
        _collect(sprint, action, wait, digits)
        return
    digit, memory.typed = digits[0], digits[1:]
    match action:
        case Menu(keys=targets) if digit in targets:
            target = targets[digit]
            memory.menu_path.append(target)
            sprint.emit(out.MenuChosen(memory.state, action.prompt, digit, target))
            sprint.goto(target)
        case ChooseLanguage(keys=languages) if digit in languages:
            memory.language = languages[digit]
            sprint.emit(out.LanguageChosen(memory.language, "key"))
            sprint.onward()
        case OfferSms():
            memory.typed = ""
            _offer_answered(sprint, action, digit)
        case _:
            _missed(sprint, wait, matched=False)


def due(sprint: Sprint, wait: ForKeys) -> None:
    """Nothing came within the time."""
    action = sprint.action
    if wait.play is not None:
        prompt_over(sprint, wait)
    elif isinstance(action, Collect) and wait.digits:
        _collected(sprint, action, wait, wait.digits)
    elif isinstance(action, OfferSms):
        _offer_answered(sprint, action, None)
    else:
        _missed(sprint, wait, matched=True)


def _collect(sprint: Sprint, action: Collect, wait: ForKeys, digits: str) -> None:
    memory = sprint.memory
    next_key = sprint.flow.input.next_key if action.next_key is None else action.next_key
    taken = wait.digits
    for at, digit in enumerate(digits):
        if digit != sprint.flow.input.end_key:
            taken += digit
            if len(taken) < action.length()[1]:
                continue
        memory.typed = digits[at + 1 :]
        _collected(sprint, action, wait, taken)
        return
    memory.wait = structs.replace(wait, play=None, digits=taken, until=sprint.now + next_key)


def _collected(sprint: Sprint, action: Collect, wait: ForKeys, digits: str) -> None:
    if not digits and action.empty is not None:
        sprint.goto(action.empty)
    elif len(digits) < action.length()[0]:
        _missed(sprint, wait, matched=False)
    else:
        sprint.store(action.into, digits)
        sprint.onward()


def _offer_answered(sprint: Sprint, action: OfferSms, digit: str | None) -> None:
    """One key says yes; any other, and silence, says no."""
    if digit == action.accept:
        sprint.agreed("deflect", action.purpose, sprint.spoken(action.prompt).text, digit)
        sprint.goto(action.accepted)
    else:
        sprint.emit(out.OfferAnswered("deflect", "declined" if digit else "no_input", digit))
        sprint.goto(action.declined)


# --- nothing, or nothing sensible ---------------------------------------------------------------------------------------


def _missed(sprint: Sprint, wait: ForKeys, *, matched: bool) -> None:
    """No input (*matched*), or none that fits: ask again, or take the way out."""
    action, memory = sprint.action, sprint.memory
    memory.typed = ""
    tries = wait.no_inputs if matched else wait.no_matches
    assert isinstance(action, Menu | Collect | ChooseLanguage)
    retry = _retry(action, matched=matched)
    if retry is not None and tries < len(retry.prompts):
        again = structs.replace(wait, digits="", no_inputs=wait.no_inputs + matched, no_matches=wait.no_matches + (not matched))
        key = retry.prompts[tries]
        first = () if key == action.prompt else (sprint.spoken(key),)
        _listen(sprint, again, (*first, *_question(sprint)))
        return
    sprint.trace("no input" if matched else "no match")
    if retry is None or isinstance(action, ChooseLanguage):
        sprint.onward()
    else:
        sprint.goto(retry.goto)


def _retry(action: Menu | Collect | ChooseLanguage, *, matched: bool) -> Retry | None:
    """How often it is asked again, and the way out; None: the next action, in the language guessed."""
    if isinstance(action, ChooseLanguage):
        return None if matched else Retry(prompts=(action.prompt,), goto="")
    own = action.no_input if matched else action.no_match
    if own is None and isinstance(action, Collect) and action.failed is not None:
        return Retry(prompts=(action.prompt,), goto=action.failed)
    return own


def _guess(sprint: Sprint, action: ChooseLanguage) -> None:
    """Begin in the language that is most likely; the flow's default otherwise."""
    facts, offered = sprint.facts, set(action.keys.values())
    for source in action.guess:
        if source == "contact.language" and facts.contact_language in offered:
            sprint.memory.language = str(facts.contact_language)
        elif source == "caller.country":
            spoken = [language for language in offered if facts.country in COUNTRIES.get(language, ())]
            if not spoken:
                continue
            sprint.memory.language = spoken[0]
        else:
            continue
        sprint.emit(out.LanguageChosen(sprint.memory.language, "guess"))
        return
