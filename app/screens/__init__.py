"""One file a screen: reads state, calls a service, draws, and hands the event to a service."""
