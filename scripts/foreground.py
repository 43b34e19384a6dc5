"""Runs a command so that Ctrl-C ends the command and not the `make` above it.

A terminal sends SIGINT to the whole foreground process group. `make` would die of it and call that an error, however
cleanly the command ends. So the command gets a process group of its own and the terminal with it; this program waits and
passes on what the command returns. Without a terminal, or in the background of one, the command simply takes this
program's place.
"""

import os
import signal
import sys
from types import FrameType


def run(command: list[str], terminal: int) -> int:
    """Run *command* in the foreground of *terminal*; returns its exit status, 128 + N when signal N ended it."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # taking the terminal back from the background would stop us
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # nobody would be there to continue it
        os.execvp(command[0], command)  # noqa: S606  the command is the Makefile's

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, pass_on)
    _, status = os.waitpid(child, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main() -> int:
    """Run the command that the arguments are."""
    command = sys.argv[1:]
    if not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp():
        os.execvp(command[0], command)  # noqa: S606  the command is the Makefile's
    return run(command, 0)


if __name__ == "__main__":
    sys.exit(main())
