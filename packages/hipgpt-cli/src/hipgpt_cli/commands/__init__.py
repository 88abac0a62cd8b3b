"""One module a verb, each with its click command in `command`; imported only when it is typed."""
