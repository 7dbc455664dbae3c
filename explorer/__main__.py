"""`python -m explorer` is the command `morphospace`."""

from explorer.cli import main

main()
