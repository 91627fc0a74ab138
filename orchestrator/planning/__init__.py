"""Plan of a sweep: its runs, their number and their cost, before any network is trained."""
