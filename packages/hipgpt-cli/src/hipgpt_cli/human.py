"""Numbers as people read them: sizes, counts, times. Pure functions, each with its example."""

from __future__ import annotations


def count(number: int) -> str:
    """A count with its thousands apart.

    >>> count(1176412)
    '1,176,412'
    """
    return f"{number:,}"


def size(number: float) -> str:
    """Bytes in the largest decimal unit that leaves a number of at least 1.

    >>> size(999), size(1115394), size(18_600_000_000)
    ('999 bytes', '1.1 MB', '18.6 GB')
    """
    if number < 1000:
        return f"{number:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def short(number: float) -> str:
    """A large count in two or three digits.

    >>> short(820), short(1553288), short(124439808)
    ('820', '1.55 M', '124 M')
    """
    if number < 1000:
        return f"{number:.0f}"
    for unit in ("k", "M", "G"):
        number /= 1000
        if number < 999.5:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:.3g} T"


def duration(seconds: float) -> str:
    """A time span in its two largest units.

    >>> duration(0.034), duration(4.25), duration(72), duration(7384)
    ('0.03 s', '4.2 s', '1 min 12 s', '2 h 3 min')
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(seconds: float) -> str:
    """Time left, as short as a progress bar wants it.

    >>> clock(48.2), clock(3723)
    ('0:48', '1:02:03')
    """
    whole = round(max(seconds, 0))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(fraction: float) -> str:
    """A fraction as a percentage.

    >>> percent(0.2134)
    '21.3 %'
    """
    return f"{100 * fraction:.1f} %"


def perplexity(loss: float) -> float:
    """exp(loss), which is infinite where a float64 cannot hold it.

    >>> round(perplexity(2.0), 2), perplexity(1000.0)
    (7.39, inf)
    """
    import math

    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
