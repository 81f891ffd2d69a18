"""Speed and memory of this package and of other runtimes, and what the hardware allows."""
