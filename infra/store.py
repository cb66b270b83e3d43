"""The object store: `s3://bucket/prefix` through boto3, or a folder, behind one small interface.

Keys are relative paths with forward slashes. Objects written with `if_absent` are created once or not at all, on both backends.
"""

import errno
import hashlib
import os
import posixpath
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse
from uuid import uuid4

from infra.errors import AccessDenied, AlreadyThere, ObjectMissing, StoreError, StoreUnavailable
from infra.settings import Settings, get_settings

CHUNK = 8 * 2**20
BUCKET, IP = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"), re.compile(r"\d+\.\d+\.\d+\.\d+")  # what a bucket may be called, and not
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL)  # no file is of that name


@dataclass(frozen=True)
class ObjectInfo:
    """One object: its key, size in bytes, and the store's tag of its content."""

    key: str
    size: int
    etag: str


class Store(Protocol):
    """What the pipeline asks of a store. Every call raises a StoreError of infra/errors.py."""

    def put(self, key: str, source: bytes | Path, *, if_absent: bool = False, content_type: str = "") -> ObjectInfo:
        """Write an object whole or not at all."""

    def get(self, key: str) -> bytes:
        """The object's bytes."""

    def read(self, key: str, start: int, length: int) -> bytes:
        """A range of the object's bytes."""

    def download(self, key: str, path: Path) -> None:
        """The object into a local file, whole or not at all."""

    def info(self, key: str) -> ObjectInfo | None:
        """The object's size and tag, or None."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with a prefix, in order of keys."""

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""

    def presign(self, key: str, seconds: int) -> str:
        """A URL that reads the object for a while."""

    def url(self, key: str) -> str:
        """The object's own URL or path."""


def open_store(url: str, settings: Settings | None = None) -> Store:
    """The store behind `s3://bucket/prefix`, `file:///folder` or a folder's path. Raises StoreError for what is none of them."""
    if url.startswith("s3://"):
        place = urlparse(url)
        if not BUCKET.fullmatch(place.netloc) or ".." in place.netloc or IP.fullmatch(place.netloc):
            raise StoreError(f"{place.netloc[:80]!r} is no name of a bucket", code="store.name", next_step="Write s3://bucket/key; a server's address belongs into DUBWRIGHT_S3_ENDPOINT_URL.")
        return S3Store(place.netloc, place.path.strip("/"), settings or get_settings())
    if re.match(r"^[a-z][a-z0-9+.-]*://", url) and not url.startswith("file://"):
        raise StoreError(f"{url} is neither s3:// nor a folder", code="store.scheme", next_step="Use s3://bucket/prefix or a folder's path.")
    return FolderStore(Path(url.removeprefix("file://")))


def split_url(url: str) -> tuple[str, str]:
    """An object's URL or path as the URL of its folder and its key there."""
    head, _, key = url.rpartition("/")
    return (head or ("/" if url.startswith("/") else ".")), key


def within(base: str, place: str) -> str:
    """A place as somebody at `base` (a folder or `s3://bucket/prefix`) names it: a URL or a full path stands for itself.

    Raises StoreError for a relative name that climbs out of its bucket, and for a home folder that nobody has.
    """
    if place.startswith(("s3://", "file://", "/")):
        return place
    if place.startswith("~"):
        try:
            return str(Path(place).expanduser())
        except RuntimeError as error:
            raise StoreError(f"{place[:80]!r} names nobody's home folder", code="store.name", next_step="Write ./~ for a name that begins so.") from error
    if not base.startswith("s3://"):
        return str(Path(base) / place)
    home = urlparse(base)
    key = posixpath.normpath(posixpath.join(home.path.strip("/"), place))
    if key.startswith(".."):
        raise StoreError(f"{place!r} lies outside the bucket {home.netloc}", code="store.name", next_step="Name it from the manifest's own folder, or as s3://bucket/key.")
    return f"s3://{home.netloc}/{key}" + ("/" if place.endswith("/") else "")


def beside(path: Path) -> Path:
    """A name of its own next to `path`, to write to before it is renamed; writers in other threads and processes get others."""
    return path.with_name(f".incoming-{uuid4().hex}")


def fetch(url: str, target: Path, settings: Settings | None = None, base: str = "") -> None:
    """Copy an input, named by `s3://...` or a path (relative to `base`), to a local file. Raises StoreError; store.too_large where it is."""
    store_url, key = split_url(within(base, url) if base else url)
    store, most = open_store(store_url, settings), (settings or get_settings()).input_gib
    found = store.info(key)
    if found is not None and found.size > most * 2**30:
        raise StoreError(f"{url} holds {found.size / 2**30:.1f} GiB, more than {most:g}", code="store.too_large", next_step="Give a smaller file; DUBWRIGHT_INPUT_GIB is the limit.")
    store.download(key, target)


def _checked(key: str) -> str:
    parts = key.split("/")
    if not key or key.startswith("/") or ".." in parts or "\x00" in key or any(0xD800 <= ord(c) < 0xE000 for c in key) or len(key.encode()) > 1000:
        raise StoreError(f"{key[:80]!r} is not a usable name", code="store.name", next_step="Use a relative name in UTF-8 without '..' and NUL.")
    return key


class FolderStore:
    """Objects as files under a folder; a write appears whole, by rename or by link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()

    def _path(self, key: str) -> Path:
        return self.folder / _checked(key)

    def put(self, key: str, source: bytes | Path, *, if_absent: bool = False, content_type: str = "") -> ObjectInfo:
        """Write beside the target, sync, then rename over it or, with `if_absent`, link to its name once."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
        except PermissionError as error:
            raise AccessDenied(f"cannot write {path}: {error}") from error
        try:
            with os.fdopen(handle, "wb") as out:
                if isinstance(source, bytes):
                    out.write(source)
                else:
                    with source.open("rb") as data:
                        shutil.copyfileobj(data, out, CHUNK)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(name, 0o644)
            if if_absent:
                os.link(name, path)
            else:
                os.replace(name, path)
        except FileExistsError as error:
            raise AlreadyThere(f"{path} is there already") from error
        finally:
            if os.path.exists(name):
                os.unlink(name)
        return self.info(key) or ObjectInfo(key, 0, "")

    def _open(self, key: str) -> Any:
        try:
            handle = os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe's reader would wait for a writer
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.fdopen(handle, "rb")
            os.close(handle)
            raise ObjectMissing(f"{self._path(key)} is no file")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectMissing(f"{self._path(key)} does not exist") from error
        except OSError as error:
            if error.errno in NOWHERE:
                raise StoreError(f"{self._path(key)} cannot be opened ({error.strerror})", code="store.name", next_step="Check the path.") from error
            if not isinstance(error, PermissionError):
                raise
            raise AccessDenied(f"cannot read {self._path(key)}", next_step="Check the file's permissions.") from error

    def get(self, key: str) -> bytes:
        """The file's bytes."""
        with self._open(key) as data:
            return data.read()

    def read(self, key: str, start: int, length: int) -> bytes:
        """A range of the file."""
        with self._open(key) as data:
            data.seek(start)
            return data.read(length)

    def download(self, key: str, path: Path) -> None:
        """Copy the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = beside(path)
        try:
            with self._open(key) as data, fresh.open("wb") as out:
                left = os.fstat(data.fileno()).st_size  # no more: what the kernel makes up as it is read has no end
                while left > 0 and (chunk := data.read(min(CHUNK, left))):
                    out.write(chunk)
                    left -= len(chunk)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def info(self, key: str) -> ObjectInfo | None:
        """Size of the file; its tag is made of size and time."""
        try:
            told = self._path(key).stat()
        except OSError as error:
            if error.errno in NOWHERE:
                return None
            raise
        return ObjectInfo(key, told.st_size, f"{told.st_size:x}-{told.st_mtime_ns:x}")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Files under the folder, unfinished ones left out."""
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith(".incoming-")):
            key = path.relative_to(self.folder).as_posix()
            if key.startswith(prefix) and (found := self.info(key)):
                yield found

    def delete(self, key: str) -> None:
        """Remove the file."""
        self._path(key).unlink(missing_ok=True)

    def presign(self, key: str, seconds: int) -> str:
        """A folder has no signatures: the file's URL."""
        return self._path(key).as_uri()

    def url(self, key: str) -> str:
        """The file's path."""
        return str(self._path(key))


class S3Store:
    """Objects under a prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        self.bucket, self.prefix = bucket, prefix
        self._transfer = TransferConfig(multipart_threshold=CHUNK, multipart_chunksize=CHUNK, max_concurrency=4)
        self._client = boto3.session.Session().client(  # a session of its own: credentials are read anew, threads do not share it
            "s3",
            endpoint_url=settings.s3_endpoint_url or None,
            region_name=settings.s3_region,
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": 3, "mode": "standard"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            ),
        )

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{_checked(key)}" if self.prefix else _checked(key)

    def _call(self, what: str, key: str, call: Any) -> Any:
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

        def unwrapped() -> Any:
            try:
                return call()
            except S3UploadFailedError as error:  # boto3's own name for what a large upload met
                raise error.__context__ if isinstance(error.__context__, ClientError | BotoCoreError) else StoreError(str(error)) from error

        where = self.url(key) if key else f"s3://{self.bucket}"
        try:
            return unwrapped()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            text = f"{what} {where}: {code or status}"
            if code in ("NoSuchKey", "NoSuchBucket", "404", "NotFound") or status == 404:
                raise ObjectMissing(f"{where} does not exist ({code})") from error
            if status in (409, 412):
                raise AlreadyThere(f"{where} is there already") from error
            if status in (401, 403):
                raise AccessDenied(text) from error
            raise (StoreUnavailable if status >= 500 else StoreError)(text) from error
        except NoCredentialsError as error:
            raise AccessDenied(f"{what} {where}: no credentials") from error
        except (EndpointConnectionError, BotoCoreError) as error:
            raise StoreUnavailable(f"{what} {where}: {error}") from error

    def put(self, key: str, source: bytes | Path, *, if_absent: bool = False, content_type: str = "") -> ObjectInfo:
        """Write an object, in parts when it is large; create-once writes are conditional on the server."""
        extra: dict[str, str] = {"ContentType": content_type} if content_type else {}
        where = {"Bucket": self.bucket, "Key": self._key(key)}
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if isinstance(source, Path) and size > CHUNK:
            if if_absent:
                self._multipart(key, source, extra)
            else:
                self._call("writing", key, lambda: self._client.upload_file(str(source), **{**where}, ExtraArgs=extra, Config=self._transfer))
        else:
            body = source if isinstance(source, bytes) else source.read_bytes()
            once = {"IfNoneMatch": "*"} if if_absent else {}
            self._call("writing", key, lambda: self._client.put_object(**where, Body=body, **extra, **once))
        return self.info(key) or ObjectInfo(key, size, "")

    def _multipart(self, key: str, source: Path, extra: dict[str, str]) -> None:
        where = {"Bucket": self.bucket, "Key": self._key(key)}
        if self.info(key):
            raise AlreadyThere(f"{self.url(key)} is there already")
        upload = self._call("writing", key, lambda: self._client.create_multipart_upload(**where, **extra))["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            with source.open("rb") as data:
                while chunk := data.read(CHUNK):
                    number = len(parts) + 1
                    part = self._client.upload_part(**where, UploadId=upload, PartNumber=number, Body=chunk)
                    parts.append({"PartNumber": number, "ETag": part["ETag"]})
            done = {"Parts": parts}
            self._call("writing", key, lambda: self._client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=done, IfNoneMatch="*"))
        except BaseException:
            self._client.abort_multipart_upload(**where, UploadId=upload)
            raise

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        return self._call("reading", key, lambda: self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read())

    def read(self, key: str, start: int, length: int) -> bytes:
        """A ranged read."""
        span = f"bytes={start}-{start + length - 1}"
        return self._call("reading", key, lambda: self._client.get_object(Bucket=self.bucket, Key=self._key(key), Range=span)["Body"].read())

    def download(self, key: str, path: Path) -> None:
        """Download to a file beside the target, then rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = beside(path)
        try:
            self._call("reading", key, lambda: self._client.download_file(self.bucket, self._key(key), str(fresh), Config=self._transfer))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def info(self, key: str) -> ObjectInfo | None:
        """Size and tag, or None."""
        try:
            head = self._call("reading", key, lambda: self._client.head_object(Bucket=self.bucket, Key=self._key(key)))
        except ObjectMissing:
            return None
        return ObjectInfo(key, int(head["ContentLength"]), head["ETag"].strip('"'))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects under the store's prefix."""
        root = f"{self.prefix}/" if self.prefix else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root + prefix)
        for page in self._call("listing", "", lambda: list(pages)):
            for row in page.get("Contents", []):
                yield ObjectInfo(row["Key"].removeprefix(root), row["Size"], row["ETag"].strip('"'))

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._call("deleting", key, lambda: self._client.delete_object(Bucket=self.bucket, Key=self._key(key)))

    def presign(self, key: str, seconds: int) -> str:
        """A signed URL for GET."""
        where = {"Bucket": self.bucket, "Key": self._key(key)}
        return self._call("signing", key, lambda: self._client.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds))

    def url(self, key: str) -> str:
        """s3://bucket/prefix/key."""
        return f"s3://{self.bucket}/{self._key(key)}"


def sha256_of(source: bytes | Path) -> str:
    """Hex SHA-256 of bytes or of a file."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
