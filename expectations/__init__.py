"""What must hold: one SQL file per check in a folder per suite, table suites, and the gate that runs them."""
