"""The tasks: what each asks of the language model and how it reads the answer."""
