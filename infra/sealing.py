"""Secrets that must be read again (webhooks are signed with them), kept encrypted where an operator gives a key, and as they are where none is given."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from infra.errors import SetupError
from infra.settings import Settings

SEALED = "fernet:"


def _box(settings: Settings) -> MultiFernet | None:
    keys = settings.webhook_key.get_secret_value().split()
    try:
        return MultiFernet([Fernet(key) for key in keys]) if keys else None
    except ValueError as error:
        step = 'Make one: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        raise SetupError("DUBWRIGHT_WEBHOOK_KEY holds a word that is no Fernet key", code="settings.invalid", next_step=step) from error


def seal(secret: str, settings: Settings) -> str:
    """A secret as it is stored. Raises SetupError for a key that is none."""
    box = _box(settings)
    return secret if box is None else SEALED + box.encrypt(secret.encode()).decode()


def unseal(stored: str, settings: Settings) -> str:
    """The secret of what is stored. Raises SetupError where the key that sealed it is not given."""
    if not stored.startswith(SEALED):
        return stored
    box = _box(settings)
    try:
        if box is not None:
            return box.decrypt(stored.removeprefix(SEALED)).decode()
    except InvalidToken:
        pass
    raise SetupError("a webhook's secret is sealed with a key that is not here", code="webhook.key", next_step="Give that key in DUBWRIGHT_WEBHOOK_KEY as well, or rotate the webhook's secret.")
