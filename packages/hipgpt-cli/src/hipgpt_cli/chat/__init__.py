"""`hipgpt chat`: a dialogue with a model that only continues text.

`template` says how a turn is written, `transcript` puts the turns together, `terminal` asks for
lines, `session` answers them. The odd thing: there are no roles and no special tokens, only a text.
"""
