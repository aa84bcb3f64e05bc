"""Numbers in words."""


def count(number: int, noun: str) -> str:
    """A number and its noun, such as "1 trial"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float, decimals: int = 1) -> str:
    """A time such as "0.4 s", "6 min 3 s" or "2 h 5 min"; decimals are of times below 10 s."""
    if seconds < 9.95:
        return f"{seconds:.{decimals}f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
