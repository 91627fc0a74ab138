"""Implementations of the commands; each module is imported when its command is called."""
