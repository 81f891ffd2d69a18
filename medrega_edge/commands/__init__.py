"""The commands, by subject. Each module mounts its own; heavy imports wait inside the commands, so that help stays light."""
