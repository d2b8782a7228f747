"""The process's ZeroMQ context, for those above this layer: `zmq` itself is imported in `streaming/` only."""

import zmq

BusContext = zmq.Context[zmq.Socket[bytes]]


def open_context() -> BusContext:
    """A context of one's own; ``term()`` it when its sockets are closed."""
    return zmq.Context()
