"""`python -m bridge` is `sidetone`."""

from bridge.cli import main

main()
