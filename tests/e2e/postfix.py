"""A Postfix of our own: its own folder, loopback addresses only, gone when the test is over. Needs root, as Postfix does."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

POSTFIX = shutil.which("postfix", path=os.environ.get("PATH", "") + ":/usr/sbin")
MISSING = "Postfix is not installed" if POSTFIX is None else "Postfix can only be started by root" if os.geteuid() else ""
FRONT = "mx.example"
MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {front}
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.1/32
relay_domains = sms.example
transport_maps = inline:{{ sms.example={hop} }}
default_transport = smtp:[127.0.0.1]:{mailbox}
relay_transport = smtp:[127.0.0.1]:{mailbox}
smtp_destination_recipient_limit = 1
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
# What comes from outside must not vouch for itself. (What Postfix adds here says spf, what the tests forge says dkim.)
header_checks = regexp:{folder}/header_checks
# Stands for SPF: these senders have been checked.
smtpd_sender_restrictions = check_sender_access inline:{{
    {{ ann@example.com = PREPEND Authentication-Results: {front}; spf=pass smtp.mailfrom=ann@example.com }},
    {{ crm@example.com = PREPEND Authentication-Results: {front}; spf=pass smtp.mailfrom=crm@example.com }} }}
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
smtp      unix  -       -       n       -       -       smtp
lmtp      unix  -       -       n       -       -       lmtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
proxymap  unix  -       -       n       -       -       proxymap
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def postfix(*, ours: int, protocol: str, mailbox: int, port: int) -> AsyncIterator[Path]:
    """Postfix in front of port *ours*, listening on *port*; everything else goes to port *mailbox*. Its log."""
    folder = await asyncio.to_thread(_lay_out, ours, protocol, mailbox, port)
    try:
        await asyncio.to_thread(_postfix, folder, "start")
        yield folder / "log"
    finally:
        await asyncio.to_thread(_postfix, folder, "stop")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _postfix(folder: Path, command: str) -> None:
    assert POSTFIX is not None
    subprocess.run([POSTFIX, "-c", folder / "config", command], check=True, capture_output=True)


def _lay_out(ours: int, protocol: str, mailbox: int, port: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="sidetone-postfix-"))  # not pytest's, which Postfix's user may not enter
    folder.chmod(0o755)
    config = folder / "config"
    config.mkdir()
    (folder / "queue").mkdir()
    (folder / "data").mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "header_checks").write_text(f"/^Authentication-Results:.*{FRONT}.*dkim=/ IGNORE\n", encoding="ascii")
    hop = f"lmtp:inet:127.0.0.1:{ours}" if protocol == "lmtp" else f"smtp:[127.0.0.1]:{ours}"
    main = MAIN.format(folder=folder, front=FRONT, hop=hop, mailbox=mailbox)
    (config / "main.cf").write_text(main, encoding="ascii")
    (config / "master.cf").write_text(MASTER.format(port=port), encoding="ascii")
    return folder
