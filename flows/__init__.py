"""What runs in which order: a batch in shards, a shard job by job, a job stage by stage. Prefect conducts; nothing is computed here."""
