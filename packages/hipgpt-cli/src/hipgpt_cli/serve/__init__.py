"""`hipgpt serve`: one model behind the completions endpoint that OpenAI's clients speak.

A request's way: `api` reads it (`body`, `schemas`), `prompts` makes ids, `engine` writes the tokens
in one thread for all requests at once (`slots`, `writer`), `responses` and `events` send them.
The odd thing: nothing here needs Starlette but `api`, `body`, `events` and `server`, so that the
engine can be tested, and used, without a network.
"""
