"""Which passwords are good enough, and how long one waits after wrong ones. Pure."""

SHORTEST = 12
"""Characters. Length is what counts (NIST SP 800-63B section 3.1.1.2); what kinds of characters does not."""
LONGEST = 200
FREE_TRIES = 5
"""Wrong passwords in a row before an account is locked."""
FIRST_LOCK = 60.0
"""Seconds; each wrong password after that doubles it."""
LONGEST_LOCK = 900.0
"""Seconds. Not for ever: whoever knows a login could keep its owner out."""

_LISTED = """
000000000000 111111111111 112233445566 121212121212 123123123123 1234567890ab 123456789012 1234567890123
12345678901234 123456789abc 123456abcdef 1234567812345678 1q2w3e4r5t6y 1qaz2wsx3edc 987654321098 abc123abc123
abcd1234abcd abcdefghijkl administrator adminadminadmin adminpassword asdfghjkl123 asdfghjklasdf changeme1234
changemenow1 correcthorsebatterystaple football1234 helloworld123 iloveyou1234 iloveyouforever letmein12345
letmeinplease liverpool1234 loremipsumdolor mypassword123 mypassword1234 onetwothreefour p@ssword1234 p@ssw0rd1234
passw0rd1234 password1234 password12345 password123456 passwordpassword password2024! password2025! password2026!
princess1234 qwerty123456 qwertyqwerty qwertyuiop12 qwertyuiop123 qwertyuiopasdf secret123456 secretsecret
sidetone1234 sunshine1234 superman1234 test12345678 testtesttest trustno1trustno1 welcome12345 welcome123456
zaq12wsxcde3 zxcvbnm12345 zxcvbnmasdfg
"""
_COMMON = frozenset(_LISTED.split())
"""Of the usual lists, those that are long enough to be tried here."""


def too_weak(password: str, login: str) -> str | None:
    """Why *password* is not good enough: `short`, `long`, `common` or `plain`; None when it is."""
    folded = password.casefold().replace(" ", "")
    if len(password) < SHORTEST:
        return "short"
    if len(password) > LONGEST:
        return "long"
    if folded in _COMMON or (login and folded.strip("0123456789!.-_") == login.casefold()):
        return "common"
    return "plain" if len(set(folded)) < 5 else None


def lock_for(failures: int) -> float:
    """Seconds for which an account is locked after so many wrong passwords in a row; 0 for not."""
    return 0.0 if failures < FREE_TRIES else float(min(LONGEST_LOCK, FIRST_LOCK * 2.0 ** min(failures - FREE_TRIES, 10)))
