import os
import subprocess
import sys

from bench import machine
from bench.machine import Spent

SPIN = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"


def test_a_tree_has_what_was_started_and_its_cpu_time() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        found = machine.tree(os.getpid())
        assert {os.getpid(), child.pid} <= found
        assert machine.own_seconds(child.pid) >= 0.19
        assert machine.memory_mb(child.pid)["Rss"] > 1
        before = machine.seconds_of(found)
        child.communicate(b"\n")
    assert machine.seconds_of({os.getpid()}) >= 0.19, "who has ended is counted with its parent"
    assert machine.seconds_of(machine.tree(os.getpid())) >= before - 0.1


def test_others_are_all_but_ours() -> None:
    before, after = Spent(10, 100, 50), Spent(12, 103, 52.5)
    assert machine.others(before, after) == 0.25
    assert machine.others(before, Spent(12, 101, 52)) == 0.0


def test_a_busy_process_of_ours_is_nobody_elses() -> None:
    before = machine.spent()
    while (after := machine.spent()).ours < before.ours + 0.2:
        pass
    assert after.everybody - before.everybody >= 0.1
