"""Who takes part in a job."""

from __future__ import annotations

from dataclasses import dataclass, field

from .process import Process


@dataclass
class Crew:
    """The processes of a job.

    Attributes:
        workers: Those that run the script, by rank; none yet, where machines have not answered yet.
        helpers: The scheduler and the servers, and what leads to other machines.
    """

    workers: list[Process] = field(default_factory=list)
    helpers: list[Process] = field(default_factory=list)
