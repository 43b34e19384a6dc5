"""The words of a mail: out of flowed lines and pages, without what was quoted and without a signature. Pure.

In English, French, Spanish and German. It errs towards keeping: a customer who reads a line too many is better off than an
agent whose words were lost; but nothing is kept below our own line `WRITE_ABOVE`.
"""

import re
from html.parser import HTMLParser

WRITE_ABOVE = "##- Please write your answer above this line -##"
"""Stands at the top of mails of ours that can be answered. What is below it was written by us."""

_SPLIT = re.compile(r"[\s>|]*" + re.escape(WRITE_ABOVE))
_WROTE = re.compile(
    r"[\s>]*(?:"
    r"On\b.{5,300}\bwrote\s?:"
    r"|Le\b.{5,300}\ba écrit\s?:"
    r"|El\b.{5,300}\bescribió\s?:"
    r"|Am\b.{5,300}\bschrieb\b.{0,200}:"
    r")\s*",
    re.DOTALL,
)
"""How mail programs introduce what they quote, with a date or an address. It may be broken into lines."""
_ORIGINAL = re.compile(
    r"\s*-{2,}\s*(?:Original Message|Forwarded message|Message d'origine|Message original|Mensaje original"
    r"|Ursprüngliche Nachricht)\s*-{2,}\s*",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"\*?(From|De|Von|Sent|Date|Envoyé|Enviado|Fecha|Gesendet|Datum|To|À|Para|An|Subject|Objet|Asunto|Betreff)\s?:\*?\s",
    re.IGNORECASE,
)
_AUTHOR_FIELDS = frozenset({"from", "de", "von"})
_DEVICE = re.compile(
    r"(?:Sent from (?:my|Outlook|Mail for|Yahoo|Proton)|Get Outlook for|Envoyé de(?:puis)? (?:mon|l'application|Outlook)"
    r"|Enviado desde (?:mi|Outlook)|Von meinem .{2,40} gesendet)\b.{0,80}",
    re.IGNORECASE,
)
_INTRODUCTION_LINES = 4
_BLANK_LINES = re.compile(r"\n{3,}")


def only_reply(text: str) -> str:
    """What was written for this mail: without quoted lines, what introduces them, and a signature."""
    lines = text.split("\n")
    kept: list[str] = []
    for n, line in enumerate(lines):
        if _ends_here(lines, n):
            break
        if not line.lstrip().startswith(">"):
            kept.append(line.rstrip())
    return _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip()


def _ends_here(lines: list[str], n: int) -> bool:
    """Whether what follows line *n*, and the line itself, is no longer the writer's."""
    line = lines[n].rstrip("\r")
    # RFC 3676 section 4.3: the signature separator has a space, which some programs cut off.
    if line in {"-- ", "--"} or _SPLIT.match(line) or _ORIGINAL.fullmatch(line) or _DEVICE.fullmatch(line.strip()):
        return True
    if line.lstrip(" >")[:3] in {"On ", "Le ", "El ", "Am "}:
        ahead = [one.lstrip("> ") for one in lines[n : n + _INTRODUCTION_LINES]]
        return any(_introduces("\n".join(ahead[: count + 1])) for count in range(len(ahead)))
    field = _FIELD.match(line)
    if field is not None and field[1].casefold() in _AUTHOR_FIELDS:
        below = [one for one in lines[n + 1 : n + 1 + _INTRODUCTION_LINES] if _FIELD.match(one)]
        return len(below) >= 2
    return False


def _introduces(text: str) -> bool:
    """Whether *text* introduces a quotation. People write such sentences too, but without a date in figures."""
    return _WROTE.fullmatch(text) is not None and any(char.isdecimal() or char == "@" for char in text)


def unflow(text: str, *, delete_space: bool) -> str:
    """*text* with the lines joined that `format=flowed` has broken (RFC 3676 section 4).

    Args:
        text: As it came, line ends as LF.
        delete_space: `delsp=yes`: the space before a soft break was not the writer's.
    """
    joined: list[str] = []
    open_depth: int | None = None
    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        if open_depth == depth and content != "-- ":
            joined[-1] += content
        else:
            joined.append(f"{'>' * depth} {content}" if depth else content)
        soft = content.endswith(" ") and content != "-- "
        open_depth = depth if soft else None
        if soft and delete_space:
            joined[-1] = joined[-1][:-1]
    return "\n".join(joined)


_BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "hr", "pre"})
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6"})
_HIDDEN = frozenset({"script", "style", "head", "title", "template", "blockquote"})
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "source", "track", "wbr"})
_QUOTING = frozenset({"gmail_quote", "gmail_signature", "moz-cite-prefix", "moz-signature", "yahoo_quoted", "protonmail_quote"})
_QUOTING_IDS = frozenset({"ms-outlook-mobile-signature", "signature"})
_CUTS = frozenset({"divrplyfwdmsg", "appendonsend"})
_DECLARATION = re.compile(r"<[!?][^>]*(?:>|\Z)")
_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")


def words_of_html(page: str) -> str:
    """The words of a page, its blocks as lines; without scripts, styles, quotations and marked signatures."""
    reader = _Words()
    reader.feed(_tame(page))
    reader.close()
    lines = (_SPACES.sub(" ", line).strip() for line in "".join(reader.words).split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _tame(page: str) -> str:
    """*page* without comments, declarations and tags that never end: for many of those the library's parser takes minutes."""
    kept: list[str] = []
    at = 0
    while (begin := page.find("<!--", at)) >= 0:
        kept.append(page[at:begin])
        end = page.find("-->", begin)
        at = end + 3 if end >= 0 else len(page)
    text = _DECLARATION.sub("", "".join([*kept, page[at:]]))
    tags, last, rest = text.rpartition(">")
    return tags + last + rest.replace("<", " ")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._hidden: list[str] = []
        """Tags open inside, and including, the outermost one that is not shown."""
        self._cut = False
        """Outlook writes what it quotes beside its mark, not inside it: nothing after the mark counts."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        name = said.get("id", "").casefold()
        if name in _CUTS:
            self._cut = True
        if self._hidden or tag in _HIDDEN or name in _QUOTING_IDS or not _QUOTING.isdisjoint(said.get("class", "").split()):
            if tag not in _VOID:
                self._hidden.append(tag)
        elif tag in _BLOCKS:
            self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            # A stray end changes nothing, a forgotten one is made good by the end of what is around it.
            if tag in self._hidden:
                while self._hidden.pop() != tag:
                    pass
        elif tag in _BLOCKS and tag not in _VOID:
            self._break(tag)

    def _break(self, tag: str) -> None:
        if self._cut:
            return
        if tag == "br" or not self.words or not self.words[-1].endswith("\n"):
            self.words.append("\n")
        if tag in _PARAGRAPHS and not "".join(self.words[-2:]).endswith("\n\n"):
            self.words.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden and not self._cut:
            self.words.append(_SPACES.sub(" ", data))
