"""``python -m growc``."""

from .cli import main

main()
