"""Damage for files, of every kind that disks, networks and bad luck do, and some of malice.

The odd thing: each damage is a function of a seed alone, so a failure is repeated by its number.
"""

import random

HUGE = [
    b"\xdf\xff\xff\xff\xff",  # msgpack: a map of 2³² − 1 pairs
    b"\xdd\xff\xff\xff\xff",  # an array
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\xdb\xff\xff\xff\xff",  # a string
    b"\xc9\xff\xff\xff\xff\x01",  # an extension type
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # the number 2⁶⁴ − 1
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"\x91" * 3000,
]

VALUES = [
    None, True, False, -1, 0, 1, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, -0.0, 1e308,
    float("nan"), float("inf"), "", "x" * 300, "nan", b"", b"bytes", [], [1, 2], {}, {"a": 1},
    [[[[[]]]]],
]  # fmt: skip


def damaged(data, seed):
    """The bytes with one kind of damage, chosen by the seed; never the same bytes."""
    chance = random.Random(seed)
    while True:
        result = _damaged(bytearray(data), chance)
        if result != data:
            return result


def _damaged(data, chance):
    kind = chance.randrange(8)
    place = chance.randrange(len(data))
    length = chance.randint(1, max(1, min(64, len(data) - place)))
    if kind == 0:  # some bits
        for _ in range(chance.choice([1, 1, 1, 2, 8])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:  # cut short
        del data[place:]
    elif kind == 2:  # a hole, closed
        del data[place : place + length]
    elif kind == 3:  # zeros, as after a power cut
        data[place:] = bytes(len(data) - place)
    elif kind == 4:  # noise
        data[place : place + length] = chance.randbytes(length)
    elif kind == 5:  # more than there was
        data[place:place] = chance.randbytes(chance.choice([1, 7, 100]))
    elif kind == 6:  # another part of the file
        other = chance.randrange(len(data))
        data[place : place + length] = data[other : other + length]
    else:  # a declared size that nothing can hold
        huge = chance.choice(HUGE)
        data[place : place + chance.choice([0, len(huge)])] = huge
    return bytes(data)


def forged(value, seed):
    """A copy of nested dictionaries and lists in which one thing is changed."""
    chance = random.Random(seed)
    return _forged(value, chance)


def _forged(value, chance):
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        copy = dict(value)
        what = chance.random()
        if what < 0.1:
            del copy[key]
        elif what < 0.2:
            copy[chance.choice(["extra", "", "a" * 300])] = copy[key]
        else:
            copy[key] = _forged(value[key], chance)
        return copy
    if isinstance(value, list) and value and chance.random() < 0.7:
        copy = list(value)
        copy[chance.randrange(len(copy))] = _forged(value[0], chance)
        return copy
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.5:
        return value + chance.choice([-1, 1, 2**32, 2**40])
    return chance.choice(VALUES)
