"""One way to lay out a flow file, so that a diff shows what changed and nothing else. Comments and quotes stay."""

from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

WIDTH = 1_000_000
"""Characters of a line: whoever wrote it knows where it should break."""


class NotYamlError(ValueError):
    """The file is not YAML; the message says where and why."""


def formatted(source: str) -> str:
    """*source* laid out in the one way: two spaces a level, list marks set in, single spaces, a newline at the end.

    Raises:
        NotYamlError: *source* cannot be read.
    """
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        document = yaml.load(source)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise NotYamlError(f"{where}{error.problem}") from error
    if document is None:
        return source
    written = StringIO()
    yaml.dump(document, written)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"
