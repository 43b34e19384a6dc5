"""What is left of a mail when only its writer's words count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.mail.words import WRITE_ABOVE, only_reply, unflow, words_of_html

WORDS = "It ships on Monday.\n\nAnything else?"


@pytest.mark.parametrize(
    "rest",
    [
        "\n-- \nAnn Example\nSales",
        "\n--\nAnn Example",
        "\nOn Mon, 23 Nov 2026 at 10:00, Example <desk@example.com> wrote:\n> where is it",
        "\nOn Mon, 23 Nov 2026 at 10:00, Example\n<c+t01.abc@sms.example>\nwrote:\n\n> where is it",
        "\nLe lun. 23 nov. 2026 à 10:00, Example <desk@example.com> a écrit :\n> où",
        "\nEl lun, 23 nov 2026 a las 10:00, Example (<desk@example.com>) escribió:\n> dónde",
        "\nAm Mo., 23. Nov. 2026 um 10:00 Uhr schrieb Example <desk@example.com>:\n> wo",
        "\n-----Original Message-----\nFrom: Example\nwhere is it",
        "\n-------- Message d'origine --------\nDe : Example",
        "\nFrom: Example <desk@example.com>\nSent: Monday, 23 November 2026 10:00\nTo: Ann\nSubject: Text\n\nwhere is it",
        "\nDe : Example\nEnvoyé : lundi\nÀ : Ann\nObjet : Texte\n\noù",
        "\n*From:* Example\n*Sent:* Monday\n*To:* Ann\n\nwhere",
        "\nSent from my iPhone",
        "\nGet Outlook for iOS",
        "\nEnvoyé de mon iPhone",
        f"\n{WRITE_ABOVE}\n\nwhere is it",
        f"\n> {WRITE_ABOVE}\n> where is it",
        "\n> where is it\n> tell me",
    ],
)
def test_what_was_quoted_or_signed_is_left_out(rest: str) -> None:
    """In the ways that mail programs have."""
    assert only_reply(WORDS + "\n" + rest) == WORDS


@pytest.mark.parametrize(
    "words",
    [
        "On Monday we open at nine, as always.",
        "On Monday he wrote: come by",
        "Le magasin ouvre à 9 h",
        "From: the warehouse, it leaves on Monday",
        "a -- b",
        "Sent from Paris on Monday, by train",
        "1. one\n2. two\n\n3. three",
    ],
)
def test_what_only_looks_like_it_is_kept(words: str) -> None:
    """Words of the writer are worth more than a tidy text."""
    assert only_reply(words) == words


def test_answers_between_quoted_lines_are_kept() -> None:
    """Each of them; the questions go."""
    assert only_reply("> where\nIn Lyon.\n> when\nOn Monday.") == "In Lyon.\nOn Monday."


@given(st.text())
def test_every_text_is_read_and_what_is_read_is_stable(text: str) -> None:
    """Nothing breaks the reader, and there is nothing more to leave out the second time."""
    once = only_reply(text)
    assert len(once) <= len(text)
    assert once in only_reply(once) or only_reply(once) in once


def test_flowed_lines_are_joined() -> None:
    """RFC 3676: a line that ends in a space goes on; quoted ones with their like only; a signature never."""
    assert unflow("one \ntwo\nthree", delete_space=False) == "one two\nthree"
    assert unflow("one \ntwo", delete_space=True) == "onetwo"
    assert unflow("one \n> two \n> three\nfour", delete_space=False) == "one \n> two three\nfour"
    assert unflow("one\n-- \nAnn", delete_space=False) == "one\n-- \nAnn"
    assert unflow(" >no quotation", delete_space=False) == ">no quotation"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<div>one</div><div>two<br>three</div>", "one\ntwo\nthree"),
        ("one &amp; two&nbsp;&lt;3", "one & two <3"),
        ("<style>p{}</style><script>alert(1)</script>one<title>x</title>", "one"),
        ("one<blockquote>two<p>three</p></blockquote>four", "onefour"),
        ('one<div class="gmail_quote gmail_quote_container">On x wrote: <div>two</div></div>', "one"),
        ('one<div class="gmail_signature">Ann</div>', "one"),
        ('one<div id="divRplyFwdMsg">From: x</div><div>two</div>', "one"),
        ('one<img src="https://tracker.example/x"> two', "one two"),
        ("one<blockquote><br><p>two</blockquote>three", "onethree"),
        ("</div></p>one", "one"),
        ("<blockquote>never closed", ""),
        ("<p>one", "one"),
        ("", ""),
    ],
)
def test_the_words_of_a_page(page: str, words: str) -> None:
    """Blocks are lines; what is not shown, quoted or marked as a signature is left out."""
    assert words_of_html(page) == words


@pytest.mark.parametrize("odd", ["<!--", "<!", "<a ", "</", '<a b="', "<script>", "<", "&#"])
def test_what_never_ends_costs_no_more_than_its_length(odd: str) -> None:
    """A page of nothing else is read in the time limit of a test, by far; what was said before it is kept."""
    for end in ("", ">"):
        assert words_of_html("<p>one</p>" + odd * (256 * 1024 // len(odd)) + end).startswith("one")


@given(st.text(alphabet="<>/pdivbr blockquote=\"'&;!-[]a", max_size=200))
def test_no_page_breaks_the_reader(page: str) -> None:
    """However broken its tags are."""
    words_of_html(page)
