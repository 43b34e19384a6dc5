"""What `sidetone flow ...` does with menus by text: draw one, and text with one."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.markup import escape

from sms.keywords import classify
from sms.menu import Menu, MenuFacts, Place, Said, Step
from sms.segments import segment


def draw_menu(menu: Menu) -> str:
    """The menu and the queues it leads to, as a Mermaid flowchart, in its default language."""
    language = menu.default_language
    lines = ["flowchart LR", f'  text(("text")) --> m["<b>{menu.name}</b>"]']
    for path, option in menu.walk():
        if not path:
            continue
        name = _node(path)
        title = option.title.get(language, "").replace('"', "'")
        words = [word for spellings in option.keywords.values() for word in spellings]
        label = "<br/>".join([title, *([", ".join(words).replace('"', "'")] if words else [])])
        arrow = "-.->" if option.hidden else "-->"
        lines.append(f'  {_node(path[:-1])} {arrow} {name}["{label}"]')
        if option.queue is not None:
            lines.append(f"  {name} --> q_{option.queue}[/{option.queue}/]")
        elif option.language is not None:
            lines.append(f'  {name} -. "{option.language}" .-> {_node(path[:-1])}')
    lines.append(f'  m -- "not understood" --> q_{menu.default}[/{menu.default}/]')
    return "\n".join(lines) + "\n"


def _node(path: tuple[int, ...]) -> str:
    return "_".join(["m", *map(str, path)])


def text_with(menu: Menu, texts: Iterable[str], out: Console, *, brand: str, language: str | None, echo: bool) -> None:
    """Text with a menu in the terminal, every queue open and staffed.

    Args:
        menu: The menu.
        texts: What the customer writes, one after the other.
        out: Where the answers go.
        brand: The name that texts carry.
        language: The customer's, as far as known.
        echo: Print what the customer writes as well.
    """
    talk = _Talk(menu, MenuFacts(brand, {}), language)
    for body in texts:
        if echo:
            out.print(f"[bold]> {escape(body)}[/]", soft_wrap=True)
        for line in talk.hear(body):
            out.print(line, soft_wrap=True)


def typed(out: Console) -> Iterator[str]:
    """What is typed, line by line, until `quit` or the end of the input."""
    while True:
        try:
            words = out.input("[bold]> [/]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if words == "quit":
            return
        yield words


class _Talk:
    """A customer who texts with a menu: the words that are obeyed everywhere first, then the menu, then the queue."""

    def __init__(self, menu: Menu, facts: MenuFacts, language: str | None) -> None:
        self.menu = menu
        self.facts = facts
        self.language = language or menu.default_language
        self.place: Place | None = None
        self.queue: str | None = None
        self.introduced = False

    def hear(self, body: str) -> Iterator[str]:
        """What comes of one text, a line of markup each."""
        keyword = classify(body, answering=self.place is not None).keyword
        if keyword is not None:
            answer = self.menu.words(keyword, self.queue, self.language, brand=self.facts.brand)
            yield from _told([Said(keyword, answer)] if answer else [])
            yield f"[dim]{keyword.upper()} is obeyed before the menu is asked[/]"
            return
        command = self.menu.command(body)
        if self.queue is not None and command is None:
            yield f"[dim]for the agent in {escape(self.queue)}[/]"
            return
        step = self._step(body, command)
        self.place, self.queue, self.language, self.introduced = step.place, step.queue, step.language, True
        yield from _told(step.says)
        chosen = f" ({escape(' > '.join(step.titles))})" if step.titles else ""
        yield f"[dim]{escape(step.why)}{chosen}[/]"
        if step.queue is not None:
            yield f"[magenta]in line for {escape(step.queue)}[/]"
        if step.ended:
            yield "[magenta]over; the next text begins anew[/]"

    def _step(self, body: str, command: str | None) -> Step:
        if self.queue is not None and command == "back":
            return self.menu.back_from(self.queue, self.language, self.facts)
        if self.place is not None:
            return self.menu.reply(self.place, body, self.facts)
        return self.menu.enter(body, language=self.language, introduced=self.introduced, facts=self.facts)


def _told(says: Iterable[Said]) -> Iterator[str]:
    for said in says:
        cost = segment(said.text)
        first, *rest = escape(said.text).split("\n")
        yield "\n".join([f"[green]text[/] {first}", *(f"     {line}" for line in rest)])
        yield f"[dim]     {said.key}: {cost.segments} segment(s) of {cost.encoding.upper()}[/]"
