"""Which pulls a CRM needs, from where on, and in which order. Each one is landed (assets/pull) and then loaded (assets/warehouse)."""
