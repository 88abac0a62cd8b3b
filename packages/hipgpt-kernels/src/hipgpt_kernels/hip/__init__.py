"""GPT operations on AMD GPUs through hip-python, and on NVIDIA GPUs through the same code.

Importing this package touches no GPU and needs no hip-python: only `driver` imports it, and only
when a device is first asked for.
"""
