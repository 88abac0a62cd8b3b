"""Models of other programs: GPT-2 as Hugging Face stores it, both ways, and GGUF for llama.cpp.

Importing the package imports none of its modules. The odd thing: nothing here needs a library of
those programs; their files are read and written by what stands in this folder.
"""
