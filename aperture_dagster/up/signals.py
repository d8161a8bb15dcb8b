"""The signals that the supervisor waits for."""

import signal

STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""They end everything."""
AWAITED = {*STOPPING, signal.SIGCHLD}
