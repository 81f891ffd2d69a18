"""Commands of `medrega bench`, one module a subject: parse, call, write. What is heavy is imported on call."""
