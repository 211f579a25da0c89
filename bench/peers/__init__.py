"""Other programs that take webhooks, under the same load: where they are installed."""
