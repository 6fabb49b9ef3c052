"""What is reported of a process's log."""

import io

from triptych.core.logs import last_line
from triptych.scale.ray.client import NOT_ERRORS

WARNING = "[2026-11-30 00:45:09,912 W 13495 13495] network_util.cc:330: no external address"
ERROR = "[2026-11-30 00:45:08,100 E 13495 13495] core_worker.cc:20: the node is lost"


def test_the_last_line_of_a_log_is_returned() -> None:
    assert last_line(io.BytesIO(b"first\nlast\n\n")) == "last"
    assert last_line(io.BytesIO(b"")) == ""


def test_information_and_warnings_of_ray_are_no_reason_for_its_end() -> None:
    log = io.BytesIO(f"{ERROR}\n{WARNING}\n{WARNING.replace(' W ', ' I ')}\n".encode())
    assert last_line(log, NOT_ERRORS) == ERROR
    assert last_line(io.BytesIO(WARNING.encode()), NOT_ERRORS) == ""
