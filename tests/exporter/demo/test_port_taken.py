"""A server whose port somebody got while it was stopped starts as soon as that ends."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from exporter.demo.postgres import Cluster
from tests.fix_postgres import PASSWORD, bin_dir


def test_a_port_that_is_taken_for_a_moment_is_waited_for(open_state_dir: Path) -> None:
    cluster = Cluster(bin_dir(18), open_state_dir / "port-taken", PASSWORD)
    cluster.create()
    with socket.create_server(("127.0.0.1", cluster.port)) as guest:
        threading.Timer(1.5, guest.close).start()
        cluster.start()
    try:
        assert cluster.running
    finally:
        cluster.stop("immediate")
