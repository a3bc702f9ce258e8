"""A Ray cluster of local nodes in a process of its own, told what to do by lines on its standard input.

Ray's own `Cluster` ends a process that makes a second one with a segmentation fault (Ray 2.60).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

#: Bytes of Ray's object store on each node: less is refused.
STORE = 100 * 2**20


def main() -> None:
    """Start a head without CPUs, print its address, then add and kill nodes until the input ends."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Ray prints is no answer
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    nodes: list[Any] = []
    print(made.address, file=answers)
    for line in sys.stdin:
        told = json.loads(line)
        if "kill" in told:
            made.remove_node(nodes[told["kill"]], allow_graceful=False)
        else:
            nodes.append(made.add_node(num_cpus=1, object_store_memory=STORE, **told))
        print("done", file=answers)
    made.shutdown()


if __name__ == "__main__":
    main()
