"""The entry point, of the command `hipgpt` and of `python -m hipgpt_cli`.

The odd thing: it imports the rest where a Ctrl-C is told in one word, as it is at any later moment.
"""

import os
import sys


def main() -> None:
    """The command `hipgpt`."""
    try:
        from hipgpt_cli.main import main as run
    except KeyboardInterrupt:
        os.write(2, b"Stopped.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
