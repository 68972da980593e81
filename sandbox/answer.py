"""JSON as both CRMs send it: every character outside ASCII escaped, so that half a surrogate pair travels as well."""

import json
from typing import Any

from starlette.responses import JSONResponse


class JsonAnswer(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")
