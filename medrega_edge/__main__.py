"""`python -m medrega_edge` is `medrega`."""

from medrega_edge.cli import main

main()
