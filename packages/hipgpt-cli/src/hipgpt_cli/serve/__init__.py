"""`hipgpt serve`: one model behind the completions endpoint that OpenAI's clients speak.

A request's way: `api` reads it (`body`, `schemas`), `prompts` makes ids, `engine` writes the tokens
in one thread for all requests at once (`slots`, `answer`), `delivery` and `events` send them.
The odd thing: the engine and all it uses know nothing of Starlette, so that it can be tested, and
used, without a network.
"""
