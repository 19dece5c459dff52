"""Other simulators, each with its own packages, who train the same workloads in turn with ours."""
