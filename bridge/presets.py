"""Ready-made texts: everybody's and each agent's own, filled with what is known, the most used first."""

import secrets
from collections.abc import Callable, Mapping

from bridge.events import AgentId
from bridge.journal import Journal
from bridge.journal.desks import OwnPreset
from bridge.web.console.filling import VARIABLES, fill, gaps
from bridge.web.console.words import LANGUAGES, ngettext
from bridge.web.console.words import gettext as _
from bridge.web.ports import LONGEST_TEXT, DeskRefusedError, Preset
from bridge.web.ports_desk import OwnText, ReadyText

MOST_OWN = 100
"""Texts an agent may keep."""
LONGEST_TITLE = 40
"""Characters of a title."""


class Presets:
    """The ready-made texts of all desks.

    Args:
        journal: Keeps agents' own, and how often which is used.
        shared: Everybody's, in a language.
    """

    def __init__(self, journal: Journal, shared: Callable[[str], tuple[Preset, ...]]) -> None:
        self._journal = journal
        self.shared = shared

    async def ready(self, agent: AgentId, language: str, known: Mapping[str, str]) -> tuple[ReadyText, ...]:
        """The texts in *language*, gaps filled with what is *known*; the most used first, then as they were written."""
        own = [Preset(row.id, row.title, row.text) for row in await self._journal.own_presets(agent) if row.language == language]
        times = await self._journal.preset_uses(agent)
        texts = [
            ReadyText(preset.id, preset.title, text, gaps(text), preset in own, times.get(preset.id, 0))
            for preset in (*self.shared(language), *own)
            for text in [fill(preset.text, known)]
        ]
        return tuple(sorted(texts, key=lambda text: -text.times))

    async def own(self, agent: AgentId) -> tuple[OwnText, ...]:
        """The agent's own, in all languages."""
        return tuple(OwnText(row.id, row.language, row.title, row.text) for row in await self._journal.own_presets(agent))

    async def keep(self, agent: AgentId, text: OwnText, *, now: float) -> None:
        """Keep one of the agent's own.

        Raises:
            DeskRefusedError: It is not whole, too long, has gaps that do not exist, or there are too many.
        """
        title, words = " ".join(text.title.split()), text.text.strip()
        if not title or not words:
            raise DeskRefusedError(_("A ready-made text needs a title and words."))
        if len(title) > LONGEST_TITLE:
            raise DeskRefusedError(_("A title has at most %(n)s characters.", n=LONGEST_TITLE))
        if len(words) > LONGEST_TEXT:
            raise DeskRefusedError(_("Too long: a text may have %(most)s characters.", most=LONGEST_TEXT))
        if text.language not in LANGUAGES:
            raise DeskRefusedError(_("Choose the language of the text."))
        unknown = [gap for gap in gaps(words) if gap.strip("{}") not in VARIABLES]
        if unknown:
            raise DeskRefusedError(_("There is no such thing to fill in: %(gaps)s", gaps=" ".join(unknown)))
        if not text.id and len(await self._journal.own_presets(agent)) >= MOST_OWN:
            raise DeskRefusedError(
                ngettext("You may keep %(n)s text of your own.", "You may keep %(n)s texts of your own.", MOST_OWN)
            )
        row = OwnPreset(text.id or f"own-{secrets.token_hex(8)}", agent, text.language, title, words, now)
        if not await self._journal.keep_own_preset(row):
            raise DeskRefusedError(_("This text is not yours."))

    async def drop(self, agent: AgentId, text: str) -> None:
        """Forget one of the agent's own."""
        await self._journal.drop_own_preset(agent, text)

    async def used(self, agent: AgentId, preset: str, *, now: float) -> None:
        """The agent has sent it."""
        await self._journal.count_preset(agent, preset, now)
