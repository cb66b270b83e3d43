"""The networks, their weights, and what turns pixels and sound into their inputs."""
