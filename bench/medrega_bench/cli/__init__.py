"""The commands of `medrega bench`. Heavy imports wait inside the commands."""
