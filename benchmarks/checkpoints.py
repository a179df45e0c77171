"""The evidence for what is promised of checkpoints.

Run: python benchmarks/checkpoints.py [cost] [resume] [killed] [calls]

cost: what one takes while training goes on. resume: trainings that go on in processes of their own, bit by bit.
killed: what is left of processes that are killed while they save. calls: what is left of a save whose n-th system call
fails, for every n.
"""

from __future__ import annotations

import sys

from checkpoint_calls import calls
from checkpoint_cost import cost
from checkpoint_kills import killed
from checkpoint_resume import resume

PARTS = {"cost": cost, "resume": resume, "killed": killed, "calls": calls}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
