"""``python -m triptych.scale.sweep.driver FOLDER``: the process that uses Ray.

It reads one request from its standard input and writes events to its standard output, as messages
of `triptych.process.protocol`. The request has ``cells``, ``address``, and in ``data`` a
description for each data set, whose arrays are those with its digest before a slash. If its input
ends, because the supervisor was killed, it ends all processes below it, and itself.
"""

import sys
from functools import partial

from ...errors import TriptychError
from ...process import protocol
from ..ray import family
from ..ray.driver import end_all, take_streams
from .cluster import connected
from .schedule import run_cells


def main(folder: str) -> None:
    """Run the cells of one request.

    Parameters
    ----------
    folder : str
        Where Ray puts its own files; the supervisor deletes it.
    """
    requests, replies = take_streams()
    try:
        request = protocol.receive(requests)
    except EOFError:
        return
    family.at_end_of_input(requests, partial(end_all, folder))
    values = request.values
    data = {
        digest: (described, protocol.below(request.arrays, f"{digest}/"))
        for digest, described in values["data"].items()
    }
    try:
        with connected(values["address"], folder, data) as cluster:
            protocol.send(replies, cluster.ready().to_json())
            for event in run_cells(cluster, values["cells"]):
                protocol.send(replies, event.to_json())
        protocol.send(replies, {"end": True})
    except TriptychError as error:
        protocol.send(replies, {"error": str(error)})


if __name__ == "__main__":
    main(sys.argv[1])
