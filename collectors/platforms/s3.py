"""The off-site copies in a bucket: how old the newest is, how large, and how the bucket guards them.

Lists, heads and reads configuration; no object is ever fetched. boto3 is an extra of the package and is imported when
the first bucket is read. It blocks, so it runs on a thread, with time limits of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from collectors.base import Known, Status, Unread
from collectors.neon.errors import one_line
from collectors.platforms.domain.security import BucketFacts, StoredObject
from collectors.threads import DaemonThreads

DEADLINE_SECONDS = 60.0
NEWEST = 8
"""The newest copy, and the seven before it that its size is compared with."""
MOST_PAGES = 50
"""Of 1000 objects each."""
_SOCKET_SECONDS = 10.0
_BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of one answer: a page of 1000 objects with the longest keys is 2 MB."""
_CHUNK = 64 * 1024
_TAKEN_AT = ("taken-at", "taken_at", "taken")
_REFUSED = frozenset({"AccessDenied", "AllAccessDisabled", "403", "Forbidden"})
_KEY_REFUSED = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "401",
    "AuthorizationHeaderMalformed",
})  # fmt: skip
_SLOW = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "429", "503"})
_NOT_THERE = frozenset({"NotImplemented", "MethodNotAllowed", "NotSupported", "501", "405"})
_NO_SETTING: Mapping[str, str] = {
    "lock": "ObjectLockConfigurationNotFoundError",
    "public": "NoSuchPublicAccessBlockConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BucketTarget:
    """A bucket and what is looked at in it.

    ``region`` and ``endpoint_url`` None: as the AWS tools find them, like the credentials; ``credentials`` (access key
    and secret) are asked for at each look, where they come from somewhere else.
    """

    bucket: str
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    credentials: Callable[[], tuple[str, str]] | None = field(default=None, repr=False)


async def read_bucket(target: BucketTarget, *, deadline_seconds: float = DEADLINE_SECONDS) -> BucketFacts:
    """Look once. Never raises for what is wrong there: each part says it by itself."""
    ends = time.monotonic() + deadline_seconds
    try:
        async with asyncio.timeout(deadline_seconds):
            return await DaemonThreads("s3", 1).run(lambda: _read(target, ends))
    except TimeoutError:  # the thread ends by its own limits, but for a look-up of the name that hangs
        return _nothing(target, Unread(Status.TIMEOUT, f"{target.bucket}: S3 did not answer in time"))


def _nothing(target: BucketTarget, why: Unread) -> BucketFacts:
    return BucketFacts(
        target.bucket, target.prefix, region=why, newest=why, encryption=why, lock_mode=why, versioning=why,
        public_blocked=why,
    )  # fmt: skip


def _read(target: BucketTarget, ends: float) -> BucketFacts:
    try:
        client = _client(target, ends)
    except ImportError:
        text = "boto3 is not installed: install neonmeter with its extra s3"
        return _nothing(target, Unread(Status.BUG, text))
    except Exception as problem:
        return _nothing(target, _why(target, problem))
    try:
        return _Look(target, client, ends).all()
    finally:
        client.close()


def _client(target: BucketTarget, ends: float) -> Any:
    boto3, config = importlib.import_module("boto3"), importlib.import_module("botocore.config")
    keys: dict[str, str] = {}
    if target.credentials is not None:
        keys["aws_access_key_id"], keys["aws_secret_access_key"] = target.credentials()
    limits = config.Config(
        connect_timeout=_SOCKET_SECONDS,
        read_timeout=_SOCKET_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
        user_agent_extra="neonmeter",
    )
    session = boto3.session.Session(region_name=target.region)
    client = session.client("s3", endpoint_url=target.endpoint_url, config=limits, **keys)
    http = client._endpoint.http_session

    def send(request: Any, **_: Any) -> Any:
        """Send it as botocore would, but read a bounded body. botocore does not ask for compression, nor decode it."""
        request.stream_output = True
        answer = http.send(request)
        body = bytearray()
        while part := answer.raw.read1(_CHUNK):
            body += part
            if len(body) > _BODY_LIMIT or time.monotonic() >= ends:
                answer.raw.close()
                size = f"over {_BODY_LIMIT >> 20} MiB" if len(body) > _BODY_LIMIT else "slow"
                raise _TooMany(f"{target.bucket}: an answer of S3 was {size} and was not read")
        answer._content = bytes(body)
        return answer

    client.meta.events.register("before-send.s3", send)
    return client


class _Look:
    """One look through one client, on a thread of its own."""

    def __init__(self, target: BucketTarget, client: Any, ends: float) -> None:
        self._target = target
        self._client = client
        self._ends = ends

    def all(self) -> BucketFacts:
        """Every part, each by itself."""
        newest = self._part(self._newest)
        first = newest[0] if isinstance(newest, tuple) and newest else None
        encryption = self._part(self._default_encryption) if first is None else (first.encryption, first.kms_key)
        return BucketFacts(
            self._target.bucket,
            self._target.prefix,
            newest=newest,
            region=self._part(self._region),
            encryption=encryption if isinstance(encryption, Unread) else encryption[0],
            kms_key="" if isinstance(encryption, Unread) else encryption[1],
            lock_mode=self._part(self._lock),
            versioning=self._part(self._versioning),
            public_blocked=self._part(self._public_blocked),
        )

    def _part(self, read: Callable[[], T]) -> Known[T]:
        if time.monotonic() >= self._ends:
            return Unread(Status.TIMEOUT, f"{self._target.bucket}: S3 did not answer in time")
        try:
            return read()
        except _TooMany as problem:
            return Unread(Status.TRUNCATED, str(problem))
        except Exception as problem:
            return _why(self._target, problem)

    def _newest(self) -> tuple[StoredObject, ...]:
        found: list[StoredObject] = []
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            if time.monotonic() >= self._ends:
                raise _TooMany(f"{self._target.bucket}: listing {self._target.prefix!r} took too long")
            page = self._client.list_objects_v2(Bucket=self._target.bucket, Prefix=self._target.prefix, **more)
            found += [_listed(stored) for stored in page.get("Contents", ()) if not stored["Key"].endswith("/")]
            found = sorted(found, key=lambda stored: stored.written_at, reverse=True)[:NEWEST]
            if not page.get("IsTruncated"):
                # What a copy holds may be older than its file, so the newest file need not be the newest copy.
                return tuple(sorted(map(self._with_head, found), key=lambda stored: stored.at, reverse=True))
            more = {"ContinuationToken": page["NextContinuationToken"]}
        raise _TooMany(
            f"{self._target.bucket}: over {MOST_PAGES * 1000} objects under {self._target.prefix!r}: "
            "name a narrower prefix, or let old copies expire"
        )

    def _with_head(self, listed: StoredObject) -> StoredObject:
        head = self._client.head_object(Bucket=self._target.bucket, Key=listed.key)
        said = {str(name).lower(): str(value) for name, value in (head.get("Metadata") or {}).items()}
        taken = next((at for name in _TAKEN_AT if (at := _instant(said.get(name, ""))) is not None), None)
        return replace(
            listed,
            at=listed.written_at if taken is None else taken,
            logical=taken is not None,
            lsn=one_line(said.get("lsn", ""), 40),
            encryption=str(head.get("ServerSideEncryption") or ""),
            kms_key=str(head.get("SSEKMSKeyId") or ""),
            lock_mode=str(head.get("ObjectLockMode") or ""),
        )

    def _region(self) -> str:
        place = self._client.get_bucket_location(Bucket=self._target.bucket).get("LocationConstraint")
        return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(place, str(place))

    def _default_encryption(self) -> tuple[str, str]:
        found = self._setting("encryption", self._client.get_bucket_encryption)
        rules = found.get("ServerSideEncryptionConfiguration", {}).get("Rules") or [{}]
        rule = rules[0].get("ApplyServerSideEncryptionByDefault", {})
        return str(rule.get("SSEAlgorithm") or ""), str(rule.get("KMSMasterKeyID") or "")

    def _lock(self) -> str:
        found = self._setting("lock", self._client.get_object_lock_configuration)
        rule = found.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
        return str(rule.get("Mode") or "")

    def _versioning(self) -> bool:
        return bool(self._client.get_bucket_versioning(Bucket=self._target.bucket).get("Status") == "Enabled")

    def _public_blocked(self) -> bool:
        found = self._setting("public", self._client.get_public_access_block)
        blocks = found.get("PublicAccessBlockConfiguration", {})
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        return all(blocks.get(name) is True for name in names)

    def _setting(self, name: str, read: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """A configuration of the bucket; empty where the bucket has none, which S3 says by an error."""
        try:
            return read(Bucket=self._target.bucket)
        except Exception as problem:
            if _code(problem) == _NO_SETTING[name]:
                return {}
            raise


class _TooMany(Exception):  # noqa: N818 - an outcome, caught where parts are made
    """A list that has no end for us."""


def _listed(mapping: Mapping[str, Any]) -> StoredObject:
    at = mapping["LastModified"].timestamp()
    return StoredObject(str(mapping["Key"]), at, int(mapping["Size"]), at)


def _instant(text: str) -> float | None:
    """Unix seconds of RFC 3339 or of a number as text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return float(text) if text.replace(".", "", 1).isdigit() else None
        except ValueError:
            return None
    return moment.timestamp() if moment.tzinfo else None


def _code(problem: BaseException) -> str:
    response = getattr(problem, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _why(target: BucketTarget, problem: BaseException) -> Unread:
    """The closed status of what botocore raised; the text names neither key nor secret."""
    code, kind = _code(problem), type(problem).__name__
    name = target.bucket
    for fits, status, text in (
        (code in _REFUSED, Status.NO_PRIVILEGE, f"the credentials may not read this from {name} ({code})"),
        (code in _KEY_REFUSED, Status.AUTH, f"the credentials for {name} were refused ({code})"),
        # A bucket that is configured and not there is a failure, not something that does not apply.
        (code in ("NoSuchBucket", "404"), Status.UNREACHABLE, f"no such bucket: {name}"),
        (code in _SLOW, Status.RATE_LIMITED, f"too many requests to {name} ({code})"),
        (code in _NOT_THERE, Status.UNSUPPORTED, f"the store of {name} does not support this setting ({code})"),
        (bool(code), Status.UNREACHABLE, f"{name}: S3 answers {code}"),
        ("Credentials" in kind or "Token" in kind or "SSO" in kind or "Profile" in kind, Status.AUTH,
         f"no credentials for {name}: set them as for any AWS tool"),
        ("Timeout" in kind, Status.TIMEOUT, f"{name}: S3 did not answer in time"),
        ("Connection" in kind or "Endpoint" in kind or "HTTP" in kind or "Proxy" in kind or "SSL" in kind,
         Status.UNREACHABLE, f"no connection to the S3 of {name} ({kind})"),
        (isinstance(problem, OSError), Status.AUTH, f"the credentials for {name} cannot be read ({kind})"),
    ):  # fmt: skip
        if fits:
            return Unread(status, text)
    return Unread(Status.BUG, f"{name}: {kind}")
