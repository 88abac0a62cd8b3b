"""The command line of hipgpt. Nothing is imported here, so that `hipgpt --help` answers at once."""

__version__ = "0.1.0"
