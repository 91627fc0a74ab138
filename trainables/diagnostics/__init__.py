"""What the paper's figures are drawn from, collected while a run trains."""
