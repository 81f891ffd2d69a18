"""A folder that installs the program on a machine without a network."""
