"""`python -m hipgpt_cli` is `hipgpt`, for a Python whose scripts are not on the search path."""

from hipgpt_cli.main import main

main()
