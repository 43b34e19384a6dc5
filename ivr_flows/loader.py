"""From files to a `Flow`: read, put together, check."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ivr_flows.lint import lint
from ivr_flows.model import (
    LARGEST,
    Catalogue,
    CatalogueFile,
    Flow,
    FlowFile,
    Preset,
    PresetsFile,
    Prompt,
    PromptEntry,
    WordsFile,
    fragments,
)
from ivr_flows.reader import Document, Problem
from ivr_flows.shapes import Part

PROMPTS = Path(__file__).parent / "prompts"
"""The prompts that come with the package."""
FLOWS = Path(__file__).parent / "flows"


class FlowErrors(ValueError):  # noqa: N818 - there are several
    """A flow that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


def load_flow(path: Path, *, prompts: Path | None = None) -> Flow:
    """Read a flow with its prompts.

    Args:
        path: The flow's YAML file.
        prompts: The prompts folder; None: `prompts` beside the flow's folder, or the one of the package.

    Raises:
        FlowErrors: It cannot be used; every error is in it, warnings are not.
        OSError: The flow's file cannot be read.
    """
    flow, problems = examine(path, prompts=prompts)
    errors = [problem for problem in problems if problem.level == "error"]
    if flow is None or errors:
        raise FlowErrors(errors)
    return flow


def check(paths: Iterable[Path], *, prompts: Path | None = None) -> list[Problem]:
    """Everything that is wrong with these flows, errors and warnings, in the order of files and lines."""
    return sorted(problem for path in paths for problem in examine(path, prompts=prompts)[1])


def examine(path: Path, *, prompts: Path | None = None) -> tuple[Flow | None, list[Problem]]:
    """A flow and what is wrong with it; None when too much is wrong to say what it means."""
    reading = _Reading(prompts or _prompts_beside(path))
    document, file = reading.read(FlowFile, path)
    if not isinstance(file, FlowFile):
        return None, reading.problems
    catalogues = {}
    for language in file.languages.available:
        catalogue = reading.catalogue(file.prompts, language)
        if catalogue is not None:
            catalogues[language] = catalogue
    presets = reading.presets(file.prompts)
    if reading.problems:
        return None, reading.problems
    flow = Flow(
        name=file.flow,
        revision=reading.digest.hexdigest()[:16],
        version=int(file.version),
        numbers=file.numbers,
        languages=file.languages.available,
        default_language=file.languages.default,
        start=file.start,
        states=file.states,
        catalogues=catalogues,
        input=file.input,
        hours=file.hours,
        texts=file.texts,
        presets=presets,
    )
    found = {name: other for name, other in reading.documents.items() if name != document.file}
    lint(flow, file, document, found, lambda audio: (reading.prompts / audio).is_file())
    return flow, [problem for each in (document, *found.values()) for problem in each.problems]


def _prompts_beside(path: Path) -> Path:
    beside = path.parent.parent / "prompts"
    return beside if beside.is_dir() else PROMPTS


class _Reading:
    """The files of one flow, as they are read."""

    def __init__(self, prompts: Path) -> None:
        self.prompts = prompts
        self.digest = hashlib.sha256()
        self.documents: dict[str, Document] = {}

    @property
    def problems(self) -> list[Problem]:
        return [problem for document in self.documents.values() for problem in document.problems]

    def read(self, kind: type[Part], path: Path) -> tuple[Document, Part | None]:
        document = self.documents[str(path)] = Document(str(path))
        try:
            content = path.read_bytes()
            source = content.decode()
        except FileNotFoundError:
            if kind is FlowFile:
                raise
            document.problem("F030", (), "there is no such file", "write it, or take the language off the flow's list")
            return document, None
        except UnicodeDecodeError:
            document.problem("F001", (), "the file is not UTF-8", "save it as UTF-8")
            return document, None
        self.digest.update(hashlib.sha256(content).digest())
        return document, document.read(kind, source)

    def catalogue(self, folder: str, language: str) -> Catalogue | None:
        """The prompts in one language."""
        _, words = self.read(WordsFile, self.prompts / "words" / f"{language}.yaml")
        _, file = self.read(CatalogueFile, self.prompts / folder / f"{language}.yaml")
        if not isinstance(words, WordsFile) or not isinstance(file, CatalogueFile):
            return None
        return Catalogue(
            language=language,
            prompts={key: prompt_of(folder, language, key, entry) for key, entry in file.prompts.items()},
            minute=words.minute,
            minutes=words.minutes,
            number_audio=f"words/{language}/number_{{n}}.wav",
            minutes_audio=f"words/{language}/minutes_{{n}}.wav",
        )

    def presets(self, folder: str) -> tuple[Preset, ...]:
        """The agents' ready-made texts; none when there is no file of them."""
        path = self.prompts / folder / "presets.yaml"
        if not path.exists():
            return ()
        _, file = self.read(PresetsFile, path)
        if not isinstance(file, PresetsFile):
            return ()
        return tuple(Preset(entry.id, entry.title, entry.text) for entry in file.presets)


def prompt_of(folder: str, language: str, key: str, entry: PromptEntry) -> Prompt:
    """A prompt with the paths of its recordings: its own, or those that `record` makes of its words."""
    if entry.audio is not None:
        return Prompt(entry.say, entry.text, entry.audio)
    return Prompt(entry.say, entry.text, tuple(path for path, _ in recordings(folder, language, key, entry.say or "")))


def recordings(folder: str, language: str, key: str, words: str) -> list[tuple[str, str]]:
    """Path and words of each recording that makes up spoken *words*; a placeholder stands for itself."""
    parts = fragments(words)
    literal = [part for part in parts if not part.startswith("{")]
    found, number = [], 0
    for part in parts:
        if part.startswith("{"):
            found.append((part, part))
            continue
        number += 1
        name = key if len(literal) == 1 else f"{key}-{number}"
        found.append((f"{folder}/{language}/{name}.wav", part))
    return found


def number_words(file: WordsFile) -> list[tuple[str, str]]:
    """Path and words of every recorded number of a language."""
    found = []
    for number in range(LARGEST + 1):
        unit = file.minute if number == 1 else file.minutes.replace("{n}", str(number))
        for name, words in ((f"number_{number}", str(number)), (f"minutes_{number}", unit)):
            found.append((f"words/{file.language}/{name}.wav", file.spoken.get(name, words)))
    return found
