"""What everything stands on: settings, errors, object store, embedded Postgres, media, machine facts."""
