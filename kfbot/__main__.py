"""`python -m kfbot` is the command `kfbot`."""

from kfbot.cli import main

main()
