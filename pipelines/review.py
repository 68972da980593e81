"""`bindwatch review`: the steward's desk, served on this machine."""

import logging
import socket
from contextlib import suppress

from assets.problems import ConfigurationProblem
from pipelines.ending import serve
from pipelines.settings import home, open_decisions, policy_for_reading, read_environment
from review.access import Entrance, tidy_name
from review.app import create_app
from review.patient_server import make_server
from review.site import Settings


def serve_desk(host: str, port: int) -> None:
    """Serves until it is stopped. Raises ConfigurationProblem when the desk would be open to others, or the address cannot be had."""
    environment = read_environment()
    policy = policy_for_reading()
    token = environment.bindwatch_desk_token
    entrance = Entrance(
        host=host,
        token=token.get_secret_value() if token else None,
        user_header=environment.bindwatch_desk_user_header,
        proxies=tuple(environment.bindwatch_desk_proxies.replace(",", " ").split()),
        user=tidy_name(environment.bindwatch_user or ""),
        desk_url=policy.links.desk_url,
        groups_header=environment.bindwatch_desk_groups_header,
        deciders=tuple(name.strip() for name in environment.bindwatch_desk_deciders.split(",") if name.strip()),
        readers=policy.privacy.readers_group,
    )
    app = create_app(
        Settings(home(), open_decisions, entrance, policy.privacy.mask_emails, policy.merges.oldest_snapshot_hours, policy.alerts.silent_after_hours)
    )
    listener = _listen(host, port)
    serve()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    shown = f"[{host}]" if ":" in host else host
    print(f"The steward's desk: http://{shown}:{listener.getsockname()[1]}   (snapshot in {home()}; Ctrl-C ends it)", flush=True)
    app.state.desk.open_ahead()
    with suppress(KeyboardInterrupt):  # it was told to end, and has
        make_server(app).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)  # whoever reads the line below may come at once
    except OSError as error:
        raise ConfigurationProblem(f"The desk cannot listen on {host}, port {port}: {error.strerror}. Is it open already? --port takes another one.") from error
    return listener
