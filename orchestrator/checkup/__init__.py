"""Checks of the command `doctor`: the machine, the data, the services, and what is recorded."""
