"""Files that are not quite what they seem: they write less, or nothing where there are zeros."""

import os

import numpy as np


class Wrapped:
    """A file, as `open` gives it, until a subclass does something else with what is written."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()


class Cut(Wrapped):
    """It takes so many bytes, to the byte, and then raises."""

    def __init__(self, file, room, error):
        super().__init__(file)
        self.room, self.error = room, error

    def write(self, data):
        fits = memoryview(data).cast("B")[: self.room]
        self.room -= len(fits)
        self.file.write(fits)
        if len(fits) < len(data):
            raise self.error
        return len(fits)


class Sparse(Wrapped):
    """It writes blocks of zeros of so many bytes by leaving them out, so that they cost no disk."""

    def __init__(self, file, block):
        super().__init__(file)
        self.block = block

    def write(self, data):
        if len(data) == self.block and not np.frombuffer(data, np.uint64).any():
            return self.file.seek(len(data), os.SEEK_CUR)
        return self.file.write(data)
