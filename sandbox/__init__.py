"""Both CRMs and the integration between them, in miniature, spoken to over HTTP by the real client libraries."""
