"""The command line. Each module mounts its commands; heavy imports wait inside the commands, so that help stays light."""
