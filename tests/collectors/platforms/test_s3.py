"""Off-site copies in S3 as moto's server plays it: age, encryption, lock, versioning, the public door, the region."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.base import Status, Unread
from collectors.platforms import s3 as module
from collectors.platforms.domain.security import BucketFacts, StoredObject
from collectors.platforms.s3 import BucketTarget, read_bucket
from exporter.demo.postgres import free_port
from tests.fix_s3 import KEYS, S3


def target(s3: S3, bucket: str, prefix: str = "", **more: Any) -> BucketTarget:
    return BucketTarget(bucket, prefix, "eu-central-1", s3.url, lambda: KEYS, **more)


def make(s3: S3, bucket: str, region: str = "eu-central-1", **more: Any) -> Any:
    client = s3.client(region)
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region}, **more)
    return client


async def test_a_bucket_as_it_should_be(s3: S3) -> None:
    client = make(s3, "good", ObjectLockEnabledForBucket=True)
    key = s3.client(service="kms").create_key()["KeyMetadata"]["Arn"]
    client.put_bucket_encryption(
        Bucket="good",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}]
        },
    )
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    client.put_object_lock_configuration(
        Bucket="good", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    client.put_public_access_block(Bucket="good", PublicAccessBlockConfiguration=dict.fromkeys(blocks, True))
    empty = await read_bucket(target(s3, "good", "shop/"))
    assert (empty.newest, empty.encryption, empty.kms_key) == ((), "aws:kms", key)
    before = time.time()
    for number in range(10):
        client.put_object(Bucket="good", Key=f"shop/{number}.dump", Body=b"x" * (100 + number))
    client.put_object(Bucket="good", Key="other/1.dump", Body=b"y")
    client.put_object(Bucket="good", Key="shop/", Body=b"")
    found = await read_bucket(target(s3, "good", "shop/"))
    assert isinstance(found.newest, tuple) and len(found.newest) == 8, "the newest and the seven before it"
    assert all(
        stored_object.key.startswith("shop/") and stored_object.key != "shop/" and 100 <= stored_object.size < 110
        for stored_object in found.newest
    )
    assert all(
        before - 5 < stored_object.at <= time.time() + 5 and not stored_object.logical for stored_object in found.newest
    )
    assert (found.encryption, found.kms_key) == ("aws:kms", key)
    assert found.lock_mode == "COMPLIANCE"
    assert (found.versioning, found.public_blocked, found.region) == (True, True, "eu-central-1")


async def test_a_bucket_as_it_should_not_be(s3: S3) -> None:
    client = make(s3, "bad", "eu-west-2")
    client.put_object(Bucket="bad", Key="a.dump", Body=b"x", ServerSideEncryption="AES256")
    found = await read_bucket(target(s3, "bad"))
    assert (found.lock_mode, found.versioning) == ("", False)
    assert found.public_blocked is False, "S3 answers 404: nothing is blocked"
    assert (found.region, found.encryption, found.kms_key) == ("eu-west-2", "AES256", "")
    client.put_public_access_block(
        Bucket="bad",
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False
        },
    )  # fmt: skip
    assert (await read_bucket(target(s3, "bad"))).public_blocked is False, "three of four"


async def test_the_first_region_has_no_name(s3: S3) -> None:
    s3.client("us-east-1").create_bucket(Bucket="nameless")
    assert (await read_bucket(target(s3, "nameless"))).region == "us-east-1"


async def test_a_copy_is_as_old_as_its_content(s3: S3) -> None:
    client = make(s3, "logical")
    taken = datetime(2026, 11, 20, 3, tzinfo=UTC)
    client.put_object(
        Bucket="logical", Key="new", Body=b"n", Metadata={"Taken-At": taken.isoformat(), "lsn": "0/16B3748"}
    )
    await asyncio.sleep(1.1)  # a file of later with content of before
    earlier = str(taken.timestamp() - 3600)
    client.put_object(Bucket="logical", Key="old", Body=b"old", Metadata={"taken-at": earlier})
    newest = (await read_bucket(target(s3, "logical"))).newest
    assert isinstance(newest, tuple)
    assert [stored_object.key for stored_object in newest] == ["new", "old"]
    assert (newest[0].at, newest[0].logical, newest[0].lsn) == (taken.timestamp(), True, "0/16B3748")
    assert newest[1].at == taken.timestamp() - 3600 and newest[1].written_at > newest[0].written_at
    assert all(abs(stored_object.written_at - time.time()) < 60 for stored_object in newest)


async def test_many_objects_are_paged_and_too_many_are_said(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make(s3, "many")
    for number in range(5):
        client.put_object(Bucket="many", Key=f"{number}", Body=b"x")
    read = module._Look._newest

    def small_pages(self: Any) -> tuple[StoredObject, ...]:
        listing = self._client.list_objects_v2
        self._client = SimpleNamespace(
            list_objects_v2=lambda **options: listing(MaxKeys=2, **options), head_object=self._client.head_object
        )
        return read(self)

    look = module._Look(target(s3, "many"), client, time.monotonic() + 30)
    assert {small_page.key for small_page in small_pages(look)} == set("01234")
    monkeypatch.setattr(module, "MOST_PAGES", 2)
    truncated = module._Look(target(s3, "many"), client, time.monotonic() + 30)
    found = truncated._part(lambda: small_pages(truncated))
    assert isinstance(found, Unread) and found.status is Status.TRUNCATED and "narrower prefix" in found.why


def parts(found: BucketFacts) -> list[object]:
    return [found.newest, found.region, found.encryption, found.lock_mode, found.versioning, found.public_blocked]


async def test_a_bucket_that_is_not_there_is_no_pass(s3: S3) -> None:
    for part in parts(await read_bucket(target(s3, "nowhere-at-all"))):
        assert isinstance(part, Unread) and part.status is Status.UNREACHABLE and "no such bucket" in part.why


async def test_where_nothing_answers(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = BucketTarget("b", "", "eu-central-1", f"http://127.0.0.1:{free_port()}", lambda: KEYS)
    assert all(
        isinstance(part, Unread) and part.status is Status.UNREACHABLE for part in parts(await read_bucket(gone))
    )
    monkeypatch.setattr(module, "_SOCKET_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        late = BucketTarget("b", "", "eu-central-1", f"http://127.0.0.1:{silent.getsockname()[1]}", lambda: KEYS)
        found = await read_bucket(late, deadline_seconds=0.2)
    assert all(isinstance(part, Unread) and part.status is Status.TIMEOUT for part in parts(found))


async def test_credentials(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    none = await read_bucket(BucketTarget("b", "", "eu-central-1", s3.url))
    assert isinstance(none.newest, Unread) and none.newest.status is Status.AUTH

    def unreadable() -> tuple[str, str]:
        raise PermissionError(13, "Permission denied")

    locked = await read_bucket(BucketTarget("b", "", "eu-central-1", s3.url, unreadable))
    assert isinstance(locked.newest, Unread) and locked.newest.status is Status.AUTH
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    profile = await read_bucket(BucketTarget("b", "", "eu-central-1", s3.url))
    assert isinstance(profile.newest, Unread) and profile.newest.status is Status.AUTH


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", Status.NO_PRIVILEGE), ("403", Status.NO_PRIVILEGE), ("ExpiredToken", Status.AUTH),
        ("SlowDown", Status.RATE_LIMITED), ("NotImplemented", Status.UNSUPPORTED),
        ("InternalError", Status.UNREACHABLE), ("NoSuchBucket", Status.UNREACHABLE),
    ],
)  # fmt: skip
def test_what_s3_says_is_closed(code: str, status: Status) -> None:
    from botocore.exceptions import ClientError

    problem = ClientError({"Error": {"Code": code, "Message": "testing-secret"}}, "GetBucketVersioning")
    why = module._why(BucketTarget("b"), problem)
    assert why.status is status and "testing-secret" not in why.why


async def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    found = await read_bucket(BucketTarget("b"))
    assert isinstance(found.newest, Unread) and "extra s3" in found.newest.why


def test_boto3_is_imported_late() -> None:
    """It costs a third of a second and 30 MB: only who has buckets pays."""
    code = "import sys, collectors.platforms.s3; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_times_of_the_metadata() -> None:
    assert module._instant("2026-11-23T09:00:00Z") == 1795424400
    assert module._instant("1795424400.5") == 1795424400.5
    for bad in ("", "yesterday", "2026-11-23T09:00:00", "nan", "1.2.3"):
        assert module._instant(bad) is None
