"""A server of the Model Context Protocol over standard input and output: the tools of `medrega` for programs and agents."""
