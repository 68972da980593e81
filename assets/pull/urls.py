"""How long a URL may be. Servers in front of HubSpot refuse one of more than about 8,000 characters (414), Salesforce one that is longer than 16,384 bytes
together with the headers of its request (414, 431); proxies often allow 8,190. What is longer goes into a body, or into several calls.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

LONGEST_URL = 7_000


def fits_a_url(query: Sequence[tuple[str, Any]]) -> bool:
    """Can these parameters stand in a URL of either CRM?"""
    return len(urlencode(query)) <= LONGEST_URL
