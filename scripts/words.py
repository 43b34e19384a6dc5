"""Brings the console's catalogues up to date with the words in code and templates: new ones empty, vanished ones gone.

Run as `make words`, then fill in what is empty in `bridge/web/console/locale/*.po`.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
CONSOLE = ROOT / "bridge" / "web" / "console"
LOCALE = CONSOLE / "locale"
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "marked": None}
HEADER = """msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {plural}\\n"

"""
FIGURES = ROOT / "bridge" / "reports" / "definitions.py"
"""What figures mean; it marks its words without knowing of the console."""
OTHERS = {"upload.html"}
"""Pages for customers, whose words come with the flow's language and not from here."""


def words() -> Iterator[str | tuple[str, ...]]:
    """Every word of the console in English; of those with a number both forms."""
    for path in sorted((CONSOLE / "templates").glob("*.html")):
        if path.name not in OTHERS:
            options = {"trimmed": "true", "silent": "false"}
            for _line, message, _comments, _context in extract(
                "jinja2.ext:babel_extract", io.BytesIO(path.read_bytes()), KEYWORDS, options=options
            ):
                yield message
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        source = path.read_bytes()
        if b"bridge.web.console.words import" in source or path == FIGURES:
            for _line, message, _comments, _context in extract("python", io.BytesIO(source), KEYWORDS):
                yield message
    # What providers' error codes mean is said on the desk, and the texts' package has no languages.
    table = YAML(typ="safe").load(ROOT / "sms" / "errors.yaml")
    for provider in table["providers"].values():
        for codes in provider["codes"].values():
            yield from codes.values()
    for own in table["own"].values():
        yield own["explanation"]


def brought_up_to_date(path: Path) -> Catalog:
    """The catalogue at *path* with the words of today, each with the translation it has already."""
    with path.open("rb") as file:
        known = {message.id: message.string for message in read_po(file, locale=path.stem)}
    catalog = Catalog(locale=path.stem)
    for message in words():
        catalog.add(message, string=known.get(message, ("", "") if isinstance(message, tuple) else ""))
    return catalog


def untranslated(catalog: Catalog) -> list[str]:
    """What the catalogue has no words for."""
    return [str(each.id) for each in catalog if each.id and not (all(each.string or ()) if each.pluralizable else each.string)]


def main() -> int:
    """Write the catalogues; says how much there is to translate."""
    missing = 0
    for path in sorted(LOCALE.glob("*.po")):
        catalog = brought_up_to_date(path)
        header = HEADER.format(language=path.stem, plural=catalog.plural_forms)
        body = io.BytesIO()
        write_po(body, catalog, width=130, no_location=True, omit_header=True, sort_output=True)
        path.write_text(header + body.getvalue().decode(), encoding="utf-8")
        missing += len(untranslated(catalog))
        print(f"{path.name}: {len(catalog)} words, {len(untranslated(catalog))} to translate")  # noqa: T201  # a command line
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
