"""Ranks that meet twice a second; one of them dies, hangs, or does nothing wrong."""

import os
import signal
import sys
import time

from hipgpt_model.distributed.watch import Watch
from hipgpt_model.distributed.world import find_world

what, who = sys.argv[1], int(sys.argv[2])
world = find_world()
watch = Watch(world, timeout=3)
for beat in range(8):
    time.sleep(0.1)
    if beat == 4 and world.rank == who:
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "hang":
            time.sleep(1000)
        elif what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
    watch.beat()
    world.barrier()
watch.stop()
print("well", world.rank)
