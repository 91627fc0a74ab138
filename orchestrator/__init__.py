"""The orchestrator: command line, planning, engines, sweeps and their records."""
