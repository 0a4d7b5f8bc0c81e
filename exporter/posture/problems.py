"""What can be known to be wrong with the section of posture before anything is contacted."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from exporter.posture.catalogue import CatalogueError, load_catalogue
from exporter.posture.settings import PostureSettings, VaultSettings
from exporter.settings.secret import SecretError, read_secret

_HERE = ("127.0.0.1", "localhost", "::1")


def problems_of_posture(posture: PostureSettings) -> Iterator[str]:
    """One line each, beginning with its path."""
    for index, vault in enumerate(posture.vaults):
        yield from _vault(f"posture.vaults[{index}]", vault)
    if posture.s3 and find_spec("boto3") is None:
        yield "posture.s3: boto3 is not installed; install neonmeter[s3]"
    seen: set[tuple[str, str]] = set()
    for index, bucket in enumerate(posture.s3):
        if (bucket.bucket, bucket.prefix) in seen:
            yield f"posture.s3[{index}]: {bucket.bucket}/{bucket.prefix} is there twice"
        seen.add((bucket.bucket, bucket.prefix))
    if posture.catalogue is None:
        return
    if not posture.catalogue.is_dir():
        yield f"posture.catalogue: {posture.catalogue} is no folder; it holds controls.yaml or frameworks/*.yaml"
        return
    try:
        load_catalogue(posture.catalogue)
    except CatalogueError as wrong:
        yield from (f"posture.catalogue: {line}" for line in wrong.problems)


def _vault(path: str, vault: VaultSettings) -> Iterator[str]:
    url = urlsplit(vault.address)
    if url.scheme == "http" and url.hostname not in _HERE:
        yield f"{path}.address: http would send the token in the clear; use https"
    for name, file in (("token_file", vault.token_file), ("secret_id_file", vault.secret_id_file)):
        try:
            read_secret(None, file)
        except SecretError as problem:
            yield f"{path}.{name}: {problem}"
    if vault.ca_file is not None and not vault.ca_file.is_file():
        yield f"{path}.ca_file: {vault.ca_file} is not there"
