"""`python -m api.describe > docs/openapi.json`: the API's description, as the documents have it."""

import json
import sys

from api.app import create_api
from db.session import Database
from infra.settings import Settings


def main() -> None:
    """Write it to standard output; no database is opened."""
    app = create_api(Database("postgresql+psycopg://nobody@127.0.0.1:9/none"), Settings())  # type: ignore[call-arg]
    sys.stdout.write(json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
