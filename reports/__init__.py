"""Tables, rankings and contact sheets made from recorded runs, without Ray or torch."""
