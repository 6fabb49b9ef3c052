"""Numbers with units, as tables show them."""


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, without the unit: three digits, or whole ones from a second on."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g}"
    return f"{seconds * 1e3:,.0f}"
