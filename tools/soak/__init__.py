"""The parts of `tools.node_soak`: instances, archive, network and disk that fail, sender, the node as a process, checks."""
