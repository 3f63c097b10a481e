"""Sizes as a person reads them."""


def in_bytes(count: float) -> str:
    """Three digits and a unit that is a power of 1024, such as 1.5 GiB; whole bytes below 1 KiB."""
    if count < 1024:
        return f"{count:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        count /= 1024
        if count < 999.5:
            return f"{count:.3g} {unit}"
    return "more than 999 EiB"
