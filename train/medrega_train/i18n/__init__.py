"""English templates and the Chinese catalogue of medrega_train."""
