"""From a study and flags to a plan, and what it costs, before anything is trained."""
