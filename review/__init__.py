"""The review desk: server-rendered pages on which people look at what the gate flagged, and decide. Stands on db and infra alone."""
