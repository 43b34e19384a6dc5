"""STOP, START and HELP in English, French and Spanish, and the free words in which people ask to be left alone.

47 CFR 64.1200(a)(10): consent may be revoked by any reasonable means, so a whole message that is a stop word is obeyed at
once, and a message that only sounds like one is shown to an agent.
"""

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from sms.message import Keyword

# Spelt as `fold` leaves them. A word of several languages stands in each of them and then tells none.
WORDS: Mapping[str, Mapping[Keyword, frozenset[str]]] = MappingProxyType(
    {
        "en": {
            "stop": frozenset(
                {"stop", "stop all", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "opt out", "optout"}
            ),
            "start": frozenset({"start", "unstop", "subscribe", "opt in", "optin", "yes"}),
            "help": frozenset({"help", "info"}),
        },
        "fr": {
            "stop": frozenset(
                {
                    "stop", "stop sms", "stopsms", "arret", "arreter", "arretez", "desabonner", "desabonnement",
                    "desinscription", "desinscrire", "annuler", "fin", "ne plus recevoir",
                }
            ),
            "start": frozenset({"start", "reprendre", "abonner", "oui"}),
            "help": frozenset({"aide", "info"}),
        },
        "es": {
            "stop": frozenset({"stop", "parar", "pare", "baja", "alto", "cancelar", "fin", "detener", "no mas"}),
            "start": frozenset({"start", "alta", "iniciar", "si"}),
            "help": frozenset({"ayuda", "info"}),
        },
    }
)  # fmt: skip
AFFIRMATIVE = frozenset({"yes", "oui", "si"})
"""Start words that are also how people say yes. They mean START only when nothing of ours was asked."""

LONGEST_PLEA = 6
"""Words. In a message this short a stop word is probably meant; in a longer one it is probably part of a story."""
# Words nobody uses in passing; `end`, `fin`, `cancel`, `alto` and the like are left out, an order can be cancelled too.
_UNMISTAKABLE = frozenset(
    {
        "stop", "stopall", "unsubscribe", "optout", "stopsms", "arret", "arreter", "arretez", "desabonner",
        "desabonnement", "desabonnez", "desinscription", "desinscrire", "desinscrivez", "parar", "pare", "paren",
    }
)  # fmt: skip
_PLEAS = (
    "opt out", "opt me out", "leave me alone", "stop texting", "stop messaging", "stop sending", "stop writing",
    "stop contacting", "stop bothering", "stop spamming", "unsubscribe me", "do not text", "don t text", "dont text",
    "do not contact", "don t contact", "dont contact", "no more texts", "no more messages", "remove me", "remove my number",
    "take me off", "ne m ecrivez plus", "ne me contactez plus", "n envoyez plus", "ne m envoyez plus", "ne plus recevoir",
    "plus de sms", "plus de messages", "arretez de m", "arrete de m", "ne m envoyer plus", "desinscrivez moi", "desabonnez moi",
    "laissez moi tranquille", "no me escriban", "no me escriba", "no me envien", "no me manden", "no mas mensajes", "dejen de",
    "deje de mandarme", "deje de enviarme", "deja de mandarme", "deja de enviarme", "dejar de recibir", "no quiero recibir",
    "dejenme en paz", "dejeme en paz", "darme de baja", "denme de baja",
)  # fmt: skip


class Match(msgspec.Struct, frozen=True):
    """What a text says about texting itself."""

    keyword: Keyword | None
    """The whole message is this command, whatever its case, accents, punctuation and emoji. Obey it."""
    language: str | None
    """`en`, `fr` or `es`; None when the word is used in several, or there is no keyword."""
    exact: bool
    """Letter for letter, but for case and outer blanks, so that a carrier's own filter sees the keyword too."""
    suspicious: bool
    """No keyword, but it sounds like a wish to be left alone: show it to an agent, send nothing unasked until then."""


def classify(body: str, *, answering: bool = False) -> Match:
    """What *body* says about texting itself.

    Args:
        body: A customer's text.
        answering: A question of ours is open. Then YES, OUI and SI answer it and are no keyword; stop words (END, FIN,
            CANCEL among them) are stop words all the same.
    """
    words = fold(body)
    said = {
        (keyword, language)
        for language, keywords in WORDS.items()
        for keyword, spellings in keywords.items()
        if words in spellings and not (answering and words in AFFIRMATIVE)
    }
    # No word is a stop word in one language and a start word in another (there is a test), so this has one element.
    keyword = next((found for found, _ in said), None)
    languages = [language for _, language in said]
    return Match(
        keyword=keyword,
        language=languages[0] if len(languages) == 1 else None,
        exact=keyword is not None and body.strip().casefold() == words,
        suspicious=keyword is None and _pleads(words),
    )


def fold(body: str) -> str:
    """*body* as plain lower-case words: no accents, punctuation or emoji, one blank between words.

    `S.T.O.P.` and `stop stop` both become `stop`.
    """
    decomposed = unicodedata.normalize("NFKD", body).casefold()
    kept = "".join(char if char.isalnum() else " " for char in decomposed if unicodedata.category(char) not in {"Mn", "Me", "Cf"})
    words = kept.split()
    if len(words) > 1 and all(len(word) == 1 for word in words):
        return "".join(words)
    if len(set(words)) == 1:
        return words[0]
    return " ".join(words)


def _pleads(words: str) -> bool:
    """Whether folded *words* sound like a wish to be left alone."""
    split = words.split()
    if len(split) <= LONGEST_PLEA and not _UNMISTAKABLE.isdisjoint(split):
        return True
    return any(f" {plea} " in f" {words} " for plea in _PLEAS)
