"""One tree of errors. Each says what failed, of which job, and what to do next, under a code that stays the same."""

import errno


class DubwrightError(Exception):
    """Anything that a user or operator can act on."""

    default_code = "internal.error"
    default_step = "Run the command again with DUBWRIGHT_LOG=debug and report what it prints."

    def __init__(self, message: str, *, code: str = "", job: str | None = None, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.job = job
        self.next_step = next_step or self.default_step

    def to_dict(self) -> dict[str, str | None]:
        """The error as the ledger, reports and --json show it."""
        return {"code": self.code, "message": self.message, "job": self.job, "next_step": self.next_step}


class ManifestError(DubwrightError):
    """A manifest with faults; `faults` holds one dict (row, field, problem, fix) each."""

    default_code = "manifest.invalid"
    default_step = "Mend the rows named above and run `dubwright plan` on the manifest."

    def __init__(self, message: str, *, faults: list[dict[str, str]] | None = None, **rest: str) -> None:
        super().__init__(message, **rest)
        self.faults = faults or []


class InputError(DubwrightError):
    """A portrait, script or recording that cannot be used; `picture` may hold a PNG of what was seen."""

    default_code = "input.invalid"
    default_step = "Replace the input named above."

    def __init__(self, message: str, *, picture: bytes | None = None, **rest: str) -> None:
        super().__init__(message, **rest)
        self.picture = picture


class MediaError(DubwrightError):
    """Sound or video that cannot be read or written."""

    default_code = "media.unreadable"
    default_step = "Check that the file plays in a player; re-export it as WAV, FLAC, MP4 or MKV."


class StoreError(DubwrightError):
    """The object store refused or failed."""

    default_code = "store.failed"
    default_step = "Check the store's URL, credentials and health, then run the same command again; finished work is kept."


class ObjectMissing(StoreError):
    """No object of that name."""

    default_code = "store.missing"
    default_step = "Check the path in the manifest, or upload the object."


class AccessDenied(StoreError):
    """The store does not accept the credentials, or they do not allow this."""

    default_code = "store.denied"
    default_step = "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy."


class AlreadyThere(StoreError):
    """A create-once write found an object of that name."""

    default_code = "store.already_there"
    default_step = "Choose another output folder or title, or remove the object if it is yours to remove."


class StoreUnavailable(StoreError):
    """The store does not answer."""

    default_code = "store.unavailable"


class WeightsError(DubwrightError):
    """Weights that are missing or are not what their card says."""

    default_code = "weights.invalid"
    default_step = "Restore the file from the release, or import it anew; `dubwright models verify` checks all."


class LedgerError(DubwrightError):
    """The ledger refused a write."""

    default_code = "ledger.refused"


class StaleToken(LedgerError):
    """Another worker holds the job now."""

    default_code = "ledger.stale_token"
    default_step = "Nothing to do: the job's new holder finishes it."


class DatabaseUnavailable(LedgerError):
    """Postgres does not answer."""

    default_code = "ledger.unavailable"
    default_step = "Start Postgres or correct DUBWRIGHT_DATABASE_URL, then run the same command again; finished work is kept."


class ConductorUnavailable(DubwrightError):
    """The Prefect server does not answer."""

    default_code = "prefect.unavailable"
    default_step = "Start the Prefect server or correct PREFECT_API_URL, then run the same command again; finished work is kept."


class AccessError(DubwrightError):
    """A caller who may not do this, or nobody that is known."""

    default_code = "access.denied"
    default_step = "Use a token that is valid and holds the scope; `dubwright token list` shows them."


class AccountError(DubwrightError):
    """An account, role or password that cannot be."""

    default_code = "account.invalid"


class DeskError(DubwrightError):
    """The review desk cannot do what it is asked to do now."""

    default_code = "desk.refused"


class DiskFull(DubwrightError):
    """No space left."""

    default_code = "disk.full"
    default_step = "Free space, or point DUBWRIGHT_HOME and the output at a larger disk, then run the same command again."


class EngineError(DubwrightError):
    """An engine or preset that does not exist, or that failed."""

    default_code = "engine.failed"


class VoiceUnavailable(EngineError):
    """A speech service that does not answer, or has too much to do."""

    default_code = "voice.unavailable"
    default_step = "Check the service and DUBWRIGHT_SPEECH_URL; the job is tried again later by itself."


class MarkingError(DubwrightError):
    """A file that cannot be marked as made by software, or whose marks do not hold: it is not delivered."""

    default_code = "marking.failed"
    default_step = "Run the manifest again, which renders and marks the take anew; `dubwright detect FILE` tells what a file carries."


class ConsentError(DubwrightError):
    """A person's face or voice would be used without a valid consent record."""

    default_code = "consent.missing"
    default_step = "Add a record: `dubwright consent add --person NAME --basis ... --portrait FILE`, then run the same command again."


class LicenceError(DubwrightError):
    """Something whose licence does not allow what would be done with it."""

    default_code = "licence.refused"
    default_step = "`dubwright models list` shows licences."


class SetupError(DubwrightError):
    """Something that must be installed is not."""

    default_code = "setup.missing"
    default_step = "Run `dubwright doctor` to see what is missing and how to get it."


def classify(error: BaseException, job: str | None = None) -> DubwrightError:
    """Any exception as a member of the tree, with the job's name where it had none."""
    if isinstance(error, DubwrightError):
        error.job = error.job or job
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"no space left while writing ({text})", job=job)
    if isinstance(error, MemoryError):
        return DubwrightError("not enough memory", code="memory.full", job=job, next_step="Use fewer workers or smaller portraits.")
    if type(error).__module__.startswith(("sqlalchemy", "psycopg")) and "Operational" in type(error).__name__:
        return DatabaseUnavailable(f"the database does not answer ({str(error).splitlines()[0]})", job=job)
    if type(error).__module__.startswith("botocore"):
        return StoreError(text, job=job)
    return DubwrightError(text, job=job)
