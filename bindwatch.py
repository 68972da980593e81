"""The installed command.

A wheel holds one package, this one: the folders of the checkout lie below it in `app`, where they cannot be taken for the `assets` or `pipelines` of
somebody else. In a checkout they can be imported already.
"""

import sys
from pathlib import Path
from typing import NoReturn

APP = Path(__file__).parent / "app"
if APP.is_dir():
    sys.path.insert(0, str(APP))


def main() -> NoReturn:
    from pipelines.main import main as run

    run()
