"""From a CRM to landing: two clients, their limits and faults, and pages on disk. Nothing here opens the warehouse."""
