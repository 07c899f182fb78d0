"""The lake: objects in S3. The only module that talks to S3 through boto3."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from common import aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class LakeError(Exception):
    """The lake could not be read. The message tells what to do."""


class NoFiles(LakeError):
    """A tenant's table has no files."""


class LakeChanged(LakeError):
    """A file was replaced or deleted while it was read. A retry helps."""


class LakeRefused(LakeError):
    """S3 denies access to this file. If it allows others, the fault lies with the file."""


class LakeArchived(LakeError):
    """The file is archived and cannot be read until it is restored."""


class LakeUnreachable(LakeError):
    """S3 did not answer, or asks to slow down. A retry may help."""


@dataclass(frozen=True)
class LakeObject:
    """One version of one object; `etag` without its quotes, `size` in bytes."""

    bucket: str
    key: str
    etag: str
    size: int
    last_modified: datetime

    @property
    def path(self) -> str:
        """bucket/key, as in ClickHouse's `_path`."""
        return f"{self.bucket}/{self.key}"


class Lake:
    """The bucket in the settings, read with the credentials in the settings."""

    def __init__(self) -> None:
        self.bucket = settings.LAKE_BUCKET

    @cached_property
    def credentials(self) -> tuple[str, str] | None:
        """Access key id and secret access key; None for AWS's default credential chain.

        Raises LakeError.
        """
        if not settings.LAKE_SECRET:
            key, secret = settings.LAKE_ACCESS_KEY_ID, settings.LAKE_SECRET_ACCESS_KEY
            return (key, secret) if key else None
        try:
            secrets = aws.cached_secret(settings.LAKE_SECRET)
            return str(secrets["access_key_id"]), str(secrets["secret_access_key"])
        except aws.AwsError as error:
            raise LakeError(str(error)) from error
        except KeyError as error:
            raise LakeError(f"The secret {settings.LAKE_SECRET} has no {error}.") from error

    @cached_property
    def client(self) -> "S3Client":
        key, secret = self.credentials or (None, None)
        return boto3.client(
            "s3",
            endpoint_url=settings.LAKE_ENDPOINT_URL or None,
            region_name=settings.LAKE_REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(
                retries={"mode": "standard", "max_attempts": 3},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=16,
                s3={"addressing_style": "path"} if settings.LAKE_ENDPOINT_URL else {},
            ),
        )

    def objects(self, prefix: str) -> Iterator[LakeObject]:
        """Every object under `prefix`, in the order of the keys."""
        with lake_errors(self.bucket):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", []):
                    yield LakeObject(
                        self.bucket,
                        found["Key"],
                        found["ETag"].strip('"'),
                        found["Size"],
                        found["LastModified"],
                    )

    def open(self, found: LakeObject) -> io.BufferedReader:
        """A seekable binary file over exactly this version of the object."""
        return io.BufferedReader(_RangeReader(self, found), buffer_size=1 << 20)

    def touch(self, found: LakeObject) -> None:
        """Raise a LakeError unless this version of the object can be read."""
        _RangeReader(self, found).readinto(memoryview(bytearray(1)))

    def put(self, key: str, body: bytes) -> None:
        with lake_errors(self.bucket):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def create_bucket(self) -> None:
        """Create the bucket unless it exists; for local trials and tests."""
        with lake_errors(self.bucket):
            try:
                self.client.head_bucket(Bucket=self.bucket)
            except ClientError:
                self.client.create_bucket(Bucket=self.bucket)

    def url(self, keys: list[str]) -> str:
        """The URL with which ClickHouse's s3() reads exactly these keys (path style, %-encoded)."""
        base = settings.LAKE_ENDPOINT_URL or f"https://s3.{settings.LAKE_REGION}.amazonaws.com"
        encoded = [quote(key, safe="/") for key in keys]
        name = encoded[0] if len(encoded) == 1 else "{" + ",".join(encoded) + "}"
        return f"{base.rstrip('/')}/{self.bucket}/{name}"


class _RangeReader(io.RawIOBase):
    """Random access to an object by ranged GETs, so that a footer is read without the rest."""

    def __init__(self, lake: Lake, found: LakeObject) -> None:
        self._lake = lake
        self._found = found
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._found.size}
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._found.size - self._position)
        if wanted <= 0:
            return 0
        last = self._position + wanted - 1
        with lake_errors(self._found.bucket, self._found.key):
            body = self._lake.client.get_object(
                Bucket=self._found.bucket,
                Key=self._found.key,
                Range=f"bytes={self._position}-{last}",
                IfMatch=self._found.etag,
            )["Body"].read()
        buffer[: len(body)] = body
        self._position += len(body)
        return len(body)


_TRANSIENT = {
    *("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "ExpiredToken"),
    *("429", "500", "502", "503", "504"),
}


@contextmanager
def lake_errors(bucket: str, key: str = "") -> Iterator[None]:
    """Turn boto3's errors into a LakeError whose message tells what to do."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _REFUSED and settings.LAKE_SECRET and aws.was_rotated(settings.LAKE_SECRET):
            raise LakeUnreachable("The lake's credentials were rotated. Load again.") from error
        raise _error_class(code, key)(_message(code, bucket, key)) from error
    except BotoCoreError as error:
        raise LakeUnreachable(
            f"The lake cannot be reached ({type(error).__name__}: {error}). "
            "Check LAKE_ENDPOINT_URL, LAKE_REGION and the credentials."
        ) from error


_REFUSED = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_GONE = {"NoSuchKey", "404", "PreconditionFailed", "412"}
_ARCHIVED = "InvalidObjectState"


def _error_class(code: str, key: str) -> type[LakeError]:
    if code in _TRANSIENT or "Throttl" in code:
        return LakeUnreachable
    if not key:
        return LakeError
    if code in _GONE:
        return LakeChanged
    if code == _ARCHIVED:
        return LakeArchived
    is_refused = code in {"AccessDenied", "403"} or code.startswith("KMS.")
    return LakeRefused if is_refused else LakeError


def _message(code: str, bucket: str, key: str) -> str:
    if code in {"NoSuchBucket", "404"} and not key:
        return f"The bucket {bucket} does not exist. Check LAKE_BUCKET and LAKE_ENDPOINT_URL."
    if code in _GONE:
        return f"{bucket}/{key} was replaced or deleted while it was read. Load again."
    if code == _ARCHIVED:
        return f"{bucket}/{key} is archived. Restore it, then run a full refresh."
    if code in _REFUSED or code.startswith("KMS."):
        what = f"{bucket}/{key}" if key else f"bucket {bucket}"
        return (
            f"Access to {what} was denied ({code}). Check LAKE_ACCESS_KEY_ID and "
            "LAKE_SECRET_ACCESS_KEY, and that they may s3:ListBucket and s3:GetObject there, and "
            "kms:Decrypt if it is encrypted."
        )
    return f"The lake refused a request for {bucket}/{key} ({code}). Try again later."
