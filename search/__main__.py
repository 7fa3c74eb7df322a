"""`python -m search` is `drill-search`."""

from search.cli import main

main()
