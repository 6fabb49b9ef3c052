"""Numbers with units, as tables show them."""


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, without the unit: three digits, or more from a second on."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g}"
    return f"{seconds * 1e3:,.0f}"


def scientific(value: float | None) -> str:
    """Return a number with a power of ten; None is NaN or infinity, which JSON does not have."""
    if value is None:
        return "not finite"
    if value == 0:
        return "0"
    return f"{value:.1e}".replace("e-0", "e−").replace("e-", "e−")
