"""Implementations of the commands, one module each. It is imported when the command is called."""
