"""A real OpenBao with our shipped policy: what is read, what is refused, what a failed rotation looks like."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from collectors.base import Status, Unread
from collectors.platforms import vault
from collectors.platforms.domain.security import StaticRole, TransitKey, VaultFacts
from collectors.platforms.vault import Token, VaultTarget, read_vault
from collectors.platforms.vault_login import LoginError, approle, fixed, from_environment, from_file, kubernetes
from exporter.demo.postgres import SUPERUSER, Cluster, free_port
from tests.fix_openbao import ROOT, OpenBao, running
from tests.fix_postgres import PASSWORD


@pytest.fixture(scope="module")
def token(openbao: OpenBao) -> str:
    return openbao.token()


@pytest.fixture
def tenants(openbao: OpenBao) -> Iterator[None]:
    """Keys per tenant: a is rotated, b can be exported, c is missing, d rotates by itself, e is for signing."""
    flags = {"deletion_allowed": True}
    for name in ("tenant-a", "tenant-d"):
        openbao.do("POST", f"transit/keys/{name}", type="aes256-gcm96")
    openbao.do("POST", "transit/keys/tenant-b", exportable=True, allow_plaintext_backup=True)
    openbao.do("POST", "transit/keys/tenant-e", type="ed25519")
    openbao.do("POST", "transit/keys/tenant-d/config", auto_rotate_period="720h")
    yield
    for name in ("tenant-a", "tenant-b", "tenant-d", "tenant-e"):
        openbao.do("POST", f"transit/keys/{name}/config", **flags)
        openbao.do("DELETE", f"transit/keys/{name}")


async def look(openbao: OpenBao, token: str | Token, **changes: object) -> VaultFacts:
    source = fixed(lambda: token) if isinstance(token, str) else token
    target = {"name": "bao", "address": openbao.address, "token": source, **changes}
    return await read_vault(VaultTarget(**target))  # type: ignore[arg-type]


def keys_of(found: VaultFacts) -> dict[str, TransitKey]:
    assert not isinstance(found.keys, Unread)
    return {transit_key.name: transit_key for transit_key in found.keys if isinstance(transit_key, TransitKey)}


async def test_keys_of_tenants(openbao: OpenBao, token: str, tenants: None) -> None:
    before = time.time()
    found = await look(openbao, token)
    assert found.key_names == ("tenant-a", "tenant-b", "tenant-d", "tenant-e"), "tenant-c has none"
    keys = keys_of(found)
    a = keys["tenant-a"]
    assert (a.type, a.latest_version, a.min_decryption_version, a.min_encryption_version) == ("aes256-gcm96", 1, 1, 0)
    assert a.rotated_at is not None and before - 60 < a.rotated_at <= time.time()
    assert not (a.exportable or a.plaintext_backup or a.deletion_allowed or a.imported or a.soft_deleted)
    assert keys["tenant-b"].exportable and keys["tenant-b"].plaintext_backup
    assert keys["tenant-d"].auto_rotate_seconds == 720 * 3600
    e = keys["tenant-e"].rotated_at
    assert e is not None and before - 60 < e <= time.time(), "an asymmetric key says it in another shape"


async def test_a_rotation_shows(openbao: OpenBao, token: str, tenants: None) -> None:
    first = keys_of(await look(openbao, token))["tenant-a"]
    await asyncio.sleep(1.1)  # its clock for this has whole seconds
    openbao.do("POST", "transit/keys/tenant-a/rotate")
    openbao.do("POST", "transit/keys/tenant-a/rotate")
    openbao.do("POST", "transit/keys/tenant-a/config", min_decryption_version=2, deletion_allowed=True)
    second = keys_of(await look(openbao, token))["tenant-a"]
    assert second.latest_version == 3 and (second.rotated_at or 0) > (first.rotated_at or 0)
    assert second.min_decryption_version == 2 and second.deletion_allowed


async def test_the_policy_reads_and_refuses(openbao: OpenBao, token: str, tenants: None) -> None:
    for path in ("transit/keys?list=true", "transit/keys/tenant-b", "sys/audit", "sys/health"):
        assert openbao.call("GET", path, token).status_code == 200, path
    refused = [
        ("GET", "transit/export/encryption-key/tenant-b"),
        ("GET", "transit/backup/tenant-b"),
        ("POST", "transit/decrypt/tenant-b"),
        ("POST", "transit/keys/tenant-b/rotate"),
        ("DELETE", "transit/keys/tenant-b"),
        ("GET", "database/static-creds/any"),
        ("POST", "database/rotate-role/any"),
        ("POST", "auth/token/create"),
    ]
    for method, path in refused:
        assert openbao.call(method, path, token).status_code == 403, path
    assert openbao.call("GET", "transit/export/encryption-key/tenant-b").status_code == 200, "the root may: a real 403"


@pytest.fixture
def rotated(openbao: OpenBao, postgres18: Cluster) -> Iterator[str]:
    """A role of a real server whose password OpenBao rotates."""
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE ROLE bao_app LOGIN")
    openbao.do(
        "POST", "database/config/shop", plugin_name="postgresql-database-plugin", allowed_roles=["*"],
        connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{postgres18.port}/postgres",
        username=SUPERUSER, password=PASSWORD, password_authentication="scram-sha-256",
    )  # fmt: skip
    openbao.do(
        "POST", "database/static-roles/app", db_name="shop", username="bao_app", rotation_period=86400,
        rotation_statements=["ALTER USER \"{{name}}\" WITH PASSWORD '{{password}}'"],
    )  # fmt: skip
    yield "bao_app"
    openbao.call("DELETE", "database/static-roles/app")
    openbao.do("DELETE", "database/config/shop")
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS bao_app")


async def test_a_rotation_that_fails_is_seen_by_its_age_alone(
    openbao: OpenBao, token: str, rotated: str, postgres18: Cluster
) -> None:
    async def role() -> StaticRole:
        roles = (await look(openbao, token)).static_roles
        assert isinstance(roles, tuple)
        (only,) = roles
        assert isinstance(only, StaticRole), only
        return only

    first = await role()
    assert (first.name, first.username, first.db_name, first.rotation_seconds) == ("app", rotated, "shop", 86400)
    assert first.rotated_at is not None and abs(time.time() - first.rotated_at) < 60
    openbao.do("POST", "database/rotate-role/app")
    second = await role()
    assert (second.rotated_at or 0) > first.rotated_at
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("DROP ROLE bao_app")
    assert openbao.call("POST", "database/rotate-role/app").status_code == 500
    assert await role() == second, "the failure leaves no trace but the time that passes"


async def test_an_audit_device() -> None:
    with running('audit "file" "trail" { options { file_path = "/dev/null" } }') as bao:
        assert (await look(bao, bao.token())).audits == ("trail/",)


async def test_a_server_without_audit_then_without_a_mount_then_sealed() -> None:
    with running() as bao:
        token = bao.token()
        assert (await look(bao, token)).audits == ()
        assert (await look(bao, token)).sealed is False
        bao.do("DELETE", "sys/mounts/database")
        found = await look(bao, ROOT)
        assert isinstance(found.static_roles, Unread) and found.static_roles.status is Status.UNSUPPORTED
        bao.do("PUT", "sys/seal")
        sealed = await look(bao, token)
        assert sealed.sealed is True
        assert isinstance(sealed.keys, Unread) and sealed.keys.status is Status.UNREACHABLE
        assert "sealed" in sealed.keys.why


async def test_refusals(openbao: OpenBao, tenants: None) -> None:
    wrong = await look(openbao, "s.wrong")
    assert isinstance(wrong.keys, Unread) and wrong.keys.status is Status.AUTH
    assert isinstance(wrong.audits, Unread) and "s.wrong" not in repr(wrong)
    assert wrong.sealed is False, "health needs no token"
    openbao.do("PUT", "sys/policies/acl/names", policy='path "transit/keys" { capabilities = ["list"] }')
    names_only = openbao.do("POST", "auth/token/create", policies=["names"], no_default_policy=True)
    found = await look(openbao, str(names_only["auth"]["client_token"]))
    assert isinstance(found.keys, tuple) and isinstance(found.key_names, tuple) and len(found.key_names) == 4
    assert all(
        isinstance(transit_key, Unread) and transit_key.status is Status.NO_PRIVILEGE for transit_key in found.keys
    )
    assert isinstance(found.keys[0], Unread) and found.keys[0].why.startswith("tenant-a: "), "a name to look for"
    assert isinstance(found.static_roles, Unread) and found.static_roles.status is Status.NO_PRIVILEGE
    none = await look(openbao, ROOT, transit=None, database=None)
    assert isinstance(none.keys, Unread) and none.keys.status is Status.UNSUPPORTED


async def test_where_nothing_answers(tmp_path: Path) -> None:
    async def read(address: str, token: object = None, seconds: float = 60.0, **more: object) -> VaultFacts:
        target = VaultTarget("bao", address, token or fixed(lambda: "t"), **more)  # type: ignore[arg-type]
        return await read_vault(target, deadline_seconds=seconds)

    gone = await read(f"http://127.0.0.1:{free_port()}")
    assert isinstance(gone.keys, Unread) and gone.keys.status is Status.UNREACHABLE
    assert isinstance(gone.sealed, Unread) and gone.sealed.status is Status.UNREACHABLE
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        late = await read(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.5)
    assert isinstance(late.keys, Unread) and late.keys.status is Status.TIMEOUT
    bad_ca = await read("https://127.0.0.1:1", ca_file=tmp_path / "absent.pem")
    assert isinstance(bad_ca.keys, Unread) and bad_ca.keys.status is Status.BUG


async def test_tokens(openbao: OpenBao, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    missing = await look(openbao, from_file(file))
    assert isinstance(missing.keys, Unread) and missing.keys.status is Status.AUTH
    file.write_text(f"{token}\n")
    assert isinstance((await look(openbao, from_file(file))).keys, tuple)
    monkeypatch.delenv("BAO_TOKEN", raising=False)
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    with pytest.raises(LoginError, match="VAULT_TOKEN"):
        await from_environment()()
    monkeypatch.setenv("VAULT_TOKEN", token)
    assert await from_environment()() == token
    empty = await look(openbao, " ")
    assert isinstance(empty.keys, Unread) and empty.keys.status is Status.AUTH
    shown = repr(VaultTarget("bao", openbao.address, fixed(lambda: token)))
    assert token not in shown


async def test_an_approle(openbao: OpenBao) -> None:
    openbao.token()  # writes the policy
    if "approle/" not in openbao.do("GET", "sys/auth")["data"]:
        openbao.do("POST", "sys/auth/approle", type="approle")
    openbao.do("POST", "auth/approle/role/neonmeter", token_policies=["neonmeter"], token_ttl="30m")
    role_id = openbao.do("GET", "auth/approle/role/neonmeter/role-id")["data"]["role_id"]
    made = openbao.do("POST", "auth/approle/role/neonmeter/secret-id", ttl="1h")["data"]["secret_id"]
    login = approle(openbao.address, role_id, lambda: f"{made}\n")
    assert isinstance((await look(openbao, login)).keys, tuple)
    assert await login() == await login(), "kept while it lives"
    assert made not in repr(login) and (await login()) not in repr(login)
    refused = approle(openbao.address, role_id, lambda: "wrong-secret")
    found = await look(openbao, refused)
    assert isinstance(found.keys, Unread) and found.keys.status is Status.AUTH and "wrong-secret" not in found.keys.why


async def test_a_service_account_is_read_at_each_login(tmp_path: Path) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        asked.append((head.split(" ")[1], (await reader.readexactly(length)).decode()))
        body = b'{"auth": {"client_token": "t-1", "lease_duration": 30}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    clock = [0.0]
    jwt = tmp_path / "jwt"
    login = kubernetes(address, "neonmeter", jwt_file=jwt)
    login.clock = lambda: clock[0]
    with pytest.raises(OSError):
        await login()
    jwt.write_text("first")
    assert await login() == "t-1"
    jwt.write_text("second")
    clock[0] = 19.0
    await login()
    clock[0] = 20.5
    await login()
    server.close()
    assert [path for path, _ in asked] == ["/v1/auth/kubernetes/login"] * 2
    assert "first" in asked[0][1] and "second" in asked[1][1]


def test_it_can_only_get() -> None:
    """The rule of the module's first lines, by its own text."""
    text = Path(vault.__file__).read_text()
    assert ".get(path" in text
    for verb in (".post(", ".put(", ".patch(", ".delete(", ".request(", ".send(", ".stream(", ".build_request("):
        assert verb not in text


def test_times_with_nanoseconds_and_without() -> None:
    assert vault._instant("2026-11-23T09:19:27.085336644Z") == pytest.approx(1795425567.085336)
    assert vault._instant("2026-11-23T10:19:27+01:00") == 1795425567
    assert vault._instant(1795425567) == 1795425567
    for bad in ("", "yesterday", "0001-01-01T00:00:00Z", "2026-11-23T09:19:27", None, {}):
        assert vault._instant(bad) is None


def test_openbao_is_not_run_as_root(openbao: OpenBao) -> None:
    status = Path(f"/proc/{openbao.process.pid}/status")
    if not status.exists() or os.geteuid() != 0:
        pytest.skip("not Linux, or not root")
    assert "\nUid:\t0\t" not in status.read_text()
    assert httpx.get(f"{openbao.address}/v1/sys/health").status_code == 200
