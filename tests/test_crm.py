"""The pair of CRMs that tests are made of (tests/crm.py)."""

import gc
from pathlib import Path

import pytest

from tests import crm
from tests.crm import Crm


def test_a_pair_of_crms_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand in memory: what is left there is lost to the machine until somebody looks."""
    monkeypatch.setattr(crm, "_QUICK", str(tmp_path))
    pair = Crm()
    pair.lead(1)
    del pair
    gc.collect()
    assert list(tmp_path.iterdir()) == []
