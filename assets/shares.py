"""Shares as people read them."""


def not_whole(share: float) -> float:
    """A share, so that one decimal of its percentage never shows all or nothing for what is not: 0.9996 is 99.9 %, not 100 %."""
    return share if share in (0, 1) else min(max(share, 0.001), 0.999)


def percent(share: float) -> str:
    return f"{not_whole(share):.1%}"
