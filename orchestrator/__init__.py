"""The sweep: command line, plan, search, select, confirm, record."""
