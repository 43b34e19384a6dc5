"""Every setting with its default, unit and meaning.

One YAML file, every key overridable by `SIDETONE_SECTION__KEY` in the environment (JSON for lists and tables);
unknown keys are errors. A secret may stand in a file of its own: give `{file: PATH}` in its place.
"""

from bridge.settings.document import DocumentError, Problem, SettingsError, explain, load_settings, read_document
from bridge.settings.figures import ReportMailSettings
from bridge.settings.house import (
    AgentSettings,
    ChatSettings,
    HoursSettings,
    NumberSettings,
    PresetSettings,
    QueueSettings,
    TargetSettings,
)
from bridge.settings.programs import HookSettings, Scope
from bridge.settings.server import MediaSettings
from bridge.settings.texts import MailAllowSettings, MailSettings, SmarthostSettings, SmsSettings, TwilioSettings
from bridge.settings.values import is_loopback
from bridge.settings.whole import Settings

__all__ = [
    "AgentSettings",
    "ChatSettings",
    "DocumentError",
    "HookSettings",
    "HoursSettings",
    "MailAllowSettings",
    "MailSettings",
    "MediaSettings",
    "NumberSettings",
    "PresetSettings",
    "Problem",
    "QueueSettings",
    "ReportMailSettings",
    "Scope",
    "Settings",
    "SettingsError",
    "SmarthostSettings",
    "SmsSettings",
    "TargetSettings",
    "TwilioSettings",
    "explain",
    "is_loopback",
    "load_settings",
    "read_document",
]
