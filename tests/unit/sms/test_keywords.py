"""When a text is a command, when it only sounds like one, and when it is an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.keywords import AFFIRMATIVE, WORDS, classify, fold
from sms.message import Keyword


@pytest.mark.parametrize(
    ("body", "keyword", "language"),
    [
        ("STOP", "stop", None),
        ("  stop. ", "stop", None),
        ("Stop!!! 😡", "stop", None),
        ("S.T.O.P", "stop", None),
        ("stop stop STOP", "stop", None),
        ("\uff33\uff34\uff2f\uff30", "stop", None),
        ("Unsubscribe", "stop", "en"),
        ("opt-out", "stop", "en"),
        ("CANCEL", "stop", "en"),
        ("Arrêt", "stop", "fr"),
        ("ARRE\u0302T", "stop", "fr"),
        ("désabonner", "stop", "fr"),
        ("Ne plus recevoir !", "stop", "fr"),
        ("FIN", "stop", None),
        ("¡No más!", "stop", "es"),
        ("baja", "stop", "es"),
        ("start", "start", None),
        ("Yes", "start", "en"),
        ("reprendre", "start", "fr"),
        ("Sí", "start", "es"),
        ("Help?", "help", "en"),
        ("aide", "help", "fr"),
        ("INFO", "help", None),
        ("1", None, None),
        ("", None, None),
        ("😀", None, None),
        ("please do not cancel my order", None, None),
    ],
)
def test_the_whole_message_is_the_command(body: str, keyword: Keyword | None, language: str | None) -> None:
    """A command is the whole message, whatever its case, accents, punctuation and emoji."""
    match = classify(body)
    assert (match.keyword, match.language) == (keyword, language)


@given(st.sampled_from(sorted(word for words in WORDS.values() for word in words["stop"])), st.booleans())
def test_stop_words_always_win(word: str, answering: bool) -> None:
    """No open question of ours, whatever it was, turns a stop word into an answer."""
    assert classify(word.upper(), answering=answering).keyword == "stop"


@pytest.mark.parametrize("word", sorted(AFFIRMATIVE))
def test_a_question_of_ours_wins_for_yes(word: str) -> None:
    """YES answers a question if there is one, and opts in if there is none."""
    assert classify(word).keyword == "start"
    assert classify(word, answering=True).keyword is None
    assert not classify(word, answering=True).suspicious


def test_other_start_words_stay_commands_in_an_answer() -> None:
    """START and HELP are no answers to anything, so an open question does not change them."""
    assert classify("start", answering=True).keyword == "start"
    assert classify("help", answering=True).keyword == "help"


@pytest.mark.parametrize(
    "body",
    [
        "please stop",
        "Stop texting me now!!",
        "I don't want this. Don't text me again, I mean it, I really have had enough of all this",
        "Could you please stop sending me these, I have asked twice already",
        "I have told you on the telephone to unsubscribe me from whatever this is",
        "arrêtez de m'envoyer ces messages, je vous l'ai déjà dit deux fois",
        "por favor deje de mandarme mensajes, ya se lo he dicho dos veces",
        "Ne m'écrivez plus s'il vous plaît",
        "merci de me désinscrire",
        "laissez-moi tranquille",
        "no más mensajes por favor",
        "quiero darme de baja",
    ],
)
def test_free_wording_is_flagged(body: str) -> None:
    """A wish to be left alone in free words is no command, and somebody looks at it."""
    match = classify(body)
    assert match.keyword is None
    assert match.suspicious


@pytest.mark.parametrize(
    "body",
    [
        "I want to cancel my order",
        "when does it end?",
        "the delivery van will stop at the corner and ring twice",
        "la fin du mois",
        "hola, tengo una pregunta",
        "could you stop the delivery to my old address and send it to the new one",
        "my number is 12",
    ],
)
def test_ordinary_texts_are_not_flagged(body: str) -> None:
    """Words that people use in passing raise no flag."""
    match = classify(body)
    assert (match.keyword, match.suspicious) == (None, False)


def test_exact_is_what_a_carrier_sees() -> None:
    """Only a keyword letter for letter is one that a carrier's filter has obeyed as well."""
    assert classify(" Stop ").exact
    assert not classify("stop.").exact
    assert not classify("arrêt").exact
    assert not classify("hello").exact


def test_no_word_means_two_things() -> None:
    """No word is one command in one language and another in the next, and each is spelt as folding leaves it."""
    meanings: dict[str, Keyword] = {}
    for keywords in WORDS.values():
        for keyword, spellings in keywords.items():
            for spelling in spellings:
                assert meanings.setdefault(spelling, keyword) == keyword
                assert fold(spelling) == spelling
    assert set(meanings) >= AFFIRMATIVE


@given(st.text(max_size=50), st.booleans())
def test_any_text_can_be_classified(body: str, answering: bool) -> None:
    """No text raises; folding twice is folding once; a keyword is never flagged as well."""
    match = classify(body, answering=answering)
    assert not (match.keyword and match.suspicious)
    assert not match.exact or match.keyword
    assert fold(fold(body)) == fold(body)
