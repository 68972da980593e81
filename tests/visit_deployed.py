"""Visits the desk as it is deployed, from within its machine (tests/deployed.py), and prints what a visitor sees as JSON.

python -m tests.visit_deployed https://crm.example.org/bindwatch
"""

import json
import sys
import time
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

import lxml.html
import requests

ANN = ("jürgen".encode(), b"what-jurgen-types")


def wait_for(url: str, seconds: float = 40) -> None:
    """Until something answers there, whatever it says."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            requests.get(url, timeout=5, verify=False)
            return
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def visit(desk_url: str) -> dict[str, Any]:
    """Walks as a person does: from the first page to a finding, decides, and comes back."""
    root = urlsplit(desk_url).path.rstrip("/")
    origin = desk_url.removesuffix(root) if root else desk_url
    session = requests.Session()
    session.verify = "/etc/ssl/bindwatch/fullchain.pem"
    session.headers["X-Forwarded-User"] = "mallory"  # a browser may write anything
    stranger = session.get(f"{desk_url}/", timeout=20)
    session.headers["Authorization"] = b"Basic " + b64encode(b":".join(ANN))
    first = session.get(f"{desk_url}/findings", timeout=20)
    page = lxml.html.fromstring(first.text)
    addresses = [str(found) for found in page.xpath("//@href | //@src | //form/@action") if not str(found).startswith(("#", "http"))]
    answers = {address: session.get(origin + address, timeout=20) for address in addresses if "/decisions" not in address and "/lang" not in address}
    form = page.xpath("//form[@data-list]")[0]
    fields = {name: value for name, value in form.form_values() if name != "finding"}
    fields |= {"finding": page.xpath("//input[@name='finding']/@value")[0], "action": "acknowledge"}
    decided = session.post(origin + form.action, fields, timeout=20)
    (cookie,) = iter(session.cookies)
    return {
        "stranger": stranger.status_code,
        "who": page.xpath("string(//div[@class='who']/span)"),
        "leads_past": [address for address in addresses if not address.startswith(f"{root}/")],
        "dead": [address for address, answer in answers.items() if answer.status_code != 200],
        "kinds": sorted({answer.headers["Content-Type"].split(";")[0] for answer in answers.values()}),
        "decided": [text.text_content() for text in lxml.html.fromstring(decided.text).xpath("//main//p[@role='status']")],
        "back_at": decided.url,
        "cookie": [cookie.name, cookie.path, cookie.secure],
    }


if __name__ == "__main__":
    requests.packages.urllib3.disable_warnings()  # type: ignore[attr-defined]
    wait_for("http://127.0.0.1:8000/health")
    wait_for(sys.argv[1])
    print(json.dumps(visit(sys.argv[1])))
