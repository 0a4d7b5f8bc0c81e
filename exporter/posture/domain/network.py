"""Transport, network and the platform's doors (P32-P44)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network

from collectors.base import Status, Unread
from collectors.neon.domain.security import Access, BranchFacts, Credential, Jwks, Masking, Permission, ProjectFacts
from collectors.platforms.domain.security import BucketFacts, HandshakeFacts, PoolerFacts
from collectors.postgres.domain.security import ServerFacts
from exporter.posture.domain.finding import Severity, object_id
from exporter.posture.domain.policy import DAY, Policy, listed
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    control_over,
    days,
    failed,
    passed,
    place,
    unclear,
    unread,
    verdict,
)

Settings = Mapping[str, str]
_MAY_CHANGE = frozenset({"EDITOR", "ADMIN"})
_OLD_TLS = ("TLSv1", "TLSv1.0", "TLSv1.1", "SSLv3")


@control_over("P32", ServerFacts, lambda facts: facts.settings)
def server_tls(facts: ServerFacts, settings: Settings, _context: Context) -> Iterator[RuleResult]:
    """The server takes connections without TLS, or old TLS; on Neon that is the proxy's."""
    where = place(facts)
    if facts.platform == "neon":
        yield absent(where, "on Neon the proxy ends TLS: our own handshake is evaluated instead")
        return
    found = []
    if settings.get("ssl") == "off":
        found.append(failed(object_id(where, "ssl"), "ssl is off"))
    if settings.get("ssl_min_protocol_version") in _OLD_TLS:
        text = f"ssl_min_protocol_version is {settings['ssl_min_protocol_version']}"
        found.append(failed(object_id(where, "ssl_min_protocol_version"), text))
    if not isinstance(facts.sessions, Unread) and facts.sessions_plain:
        text = f"{facts.sessions_plain} of {facts.sessions} sessions from other machines are without TLS"
        found.append(failed(object_id(where, "sessions"), text))
    if not found and "ssl" not in settings:
        yield unclear(where, "the setting ssl is not visible")
    else:
        yield from verdict(where, found, "TLS 1.2 or newer, and no session from elsewhere without it")


@control("P32", HandshakeFacts)
def handshake(facts: HandshakeFacts, context: Context) -> Iterator[RuleResult]:
    """Our own handshake is old, does not verify, or its certificate ends soon."""
    for part in (facts.protocol, facts.verified, facts.expires_at):
        if isinstance(part, Unread):
            yield unread(facts.name, part)
            return
    if not facts.protocol:
        yield failed(object_id(facts.name, "protocol"), "it does not speak TLS")
        return
    found = []
    if facts.protocol in _OLD_TLS:
        found.append(failed(object_id(facts.name, "protocol"), f"the handshake ends in {facts.protocol}"))
    if not facts.verified:
        found.append(failed(object_id(facts.name, "chain"), "the certificate's chain or name does not verify"))
    left = facts.expires_at - context.now if isinstance(facts.expires_at, float | int) else 0.0
    if left < context.policy.certificate_days * DAY:
        text = f"the certificate ends in {days(left)}" if left > 0 else "the certificate has ended"
        found.append(failed(object_id(facts.name, "certificate"), text))
    if facts.sslmode and facts.sslmode != "verify-full":
        text = f"we connect with sslmode={facts.sslmode}, which does not verify the server"
        found.append(failed(object_id(facts.name, "sslmode"), text, severity=Severity.MEDIUM))
    yield from verdict(facts.name, found, f"{facts.protocol}, verified, valid for {days(left)}")


@control_over("P32", PoolerFacts, lambda facts: facts.config)
def pooler_tls(facts: PoolerFacts, config: Settings, _context: Context) -> Iterator[RuleResult]:
    """A PgBouncer takes clients without TLS, reaches servers without checking them, or trusts everybody."""
    found = []
    if config.get("client_tls_sslmode", "disable") not in ("require", "verify-ca", "verify-full"):
        text = f"client_tls_sslmode is {config.get('client_tls_sslmode', 'disable')}"
        found.append(failed(object_id(facts.name, "client_tls_sslmode"), text))
    if config.get("server_tls_sslmode", "prefer") != "verify-full":
        text = f"server_tls_sslmode is {config.get('server_tls_sslmode', 'prefer')}"
        found.append(failed(object_id(facts.name, "server_tls_sslmode"), text))
    yield from verdict(facts.name, found, "TLS on both sides")


@control_over("P33", ServerFacts, lambda facts: facts.settings)
def scram(facts: ServerFacts, settings: Settings, _context: Context) -> Iterator[RuleResult]:
    """New passwords are not kept as SCRAM verifiers."""
    where = place(facts)
    value = settings.get("password_encryption")
    if value is None:
        yield unclear(where, "password_encryption is not visible")
    elif value == "scram-sha-256":
        yield passed(where, "password_encryption is scram-sha-256")
    else:
        yield failed(where, f"password_encryption is {value}")


@control_over("P33", PoolerFacts, lambda facts: facts.config)
def pooler_auth(facts: PoolerFacts, config: Settings, _context: Context) -> Iterator[RuleResult]:
    """A PgBouncer lets people in without SCRAM or a certificate."""
    value = config.get("auth_type", "md5")
    bad = value in ("trust", "any", "plain", "md5")
    yield (failed if bad else passed)(facts.name, f"auth_type is {value}")


@control_over("P34", ProjectFacts, lambda facts: facts.access)
def ip_allow(facts: ProjectFacts, access: Access, context: Context) -> Iterator[RuleResult]:
    """The project takes connections from everywhere, or from ranges that are too wide."""
    if access.block_public:
        yield passed(facts.id, "public connections are blocked")
        return
    if not access.allowed_ips:
        yield failed(facts.id, "no address list: connections come from everywhere")
        return
    found = [failed(object_id(facts.id, text), why) for text, why in _wide(access, context.policy)]
    found += _unprotected(facts, access, context)
    yield from verdict(facts.id, found, f"{len(access.allowed_ips)} ranges, none wide")


def _wide(access: Access, policy: Policy) -> Iterator[tuple[str, str]]:
    for text in access.allowed_ips:
        if "-" in text:
            ends = [part.strip() for part in text.split("-", 1)]
            try:
                size = int(ip_address(ends[1])) - int(ip_address(ends[0])) + 1
            except ValueError:
                yield text, f"{text} is not understood"
                continue
            if size > 2 ** (32 - policy.ip_widest):
                yield text, f"{text} is {size} addresses"
            continue
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            yield text, f"{text} is not understood"
            continue
        least = policy.ip_widest if network.version == 4 else 48
        if network.prefixlen < least:
            yield text, f"{text} is wider than /{least}"


def _unprotected(facts: ProjectFacts, access: Access, context: Context) -> Iterator[RuleResult]:
    """The list may hold for protected branches only, while an unprotected one holds unmasked production data."""
    if not access.protected_branches_only:
        return
    for branch in context.facts.branches_by_project.get(facts.id, ()):
        if branch.protected:
            continue
        masked = isinstance(branch.masking, Masking) and branch.masking.state == "anonymized"
        if not masked and branch.init_source != "schema-only" and branch.logical_size != 0:
            name = branch.name or branch.id
            text = f"the address list is for protected branches only, and {name} holds data unprotected"
            yield failed(object_id(facts.id, branch.id), text)


@control("P35", ProjectFacts)
def residency(facts: ProjectFacts, context: Context) -> Iterator[RuleResult]:
    """The project's data lie outside the allowed regions."""
    policy = context.policy
    if not facts.region:
        yield unclear(facts.id, "Neon does not say where the project is")
    elif facts.region in policy.regions:
        yield passed(facts.id, f"{facts.region} is allowed")
    elif facts.region in policy.regions_known:
        yield failed(facts.id, f"data lie in {facts.region}; allowed are {', '.join(policy.regions)}")
    else:
        yield unclear(facts.id, f"{facts.region} is a region of unknown location; allow it or not")


@control_over("P35", BucketFacts, lambda facts: facts.region)
def bucket_residency(facts: BucketFacts, region: str, context: Context) -> Iterator[RuleResult]:
    """Off-site copies lie outside the allowed regions."""
    where = object_id("s3", facts.name)
    allowed = region in context.policy.storage_regions
    yield (passed if allowed else failed)(where, f"the bucket is in {region or 'an unnamed region'}")


@control("P36", BranchFacts)
def branch_protected(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """A production branch can be deleted or reset by mistake, and its children have its passwords."""
    where = object_id(facts.project_id, facts.id)
    if not is_production(facts, context):
        yield absent(where, "no production branch")
    else:
        yield (passed if facts.protected else failed)(
            where, f"production branch {facts.name or facts.id} is {'' if facts.protected else 'not '}protected"
        )


@control("P37", BranchFacts)
def branch_ttl(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """A branch beside production has no end and no use."""
    where = object_id(facts.project_id, facts.id)
    if is_production(facts, context):
        yield absent(where, "a production branch stays")
        return
    if facts.expires_at is not None:
        yield passed(where, "it has its day")
        return
    used = max((at for at in (facts.last_active, facts.created_at) if at is not None), default=None)
    if used is None:
        yield unclear(where, "Neon does not say when it was used")
    elif context.now - used > context.policy.branch_idle_days * DAY:
        yield failed(where, f"no expiry, and not used for {days(context.now - used)}")
    else:
        yield passed(where, f"used {days(context.now - used)} ago")


def is_production(facts: BranchFacts, context: Context) -> bool:
    """Whether the policy takes the branch for production."""
    project = (facts.project_id, facts.project_name or facts.project_id)
    branch = (facts.id, facts.name or facts.id)
    return context.policy.production(project, branch, protected=facts.default or facts.protected)


@control_over("P42", ProjectFacts, lambda facts: facts.permissions)
def shared_permission(
    facts: ProjectFacts, permissions: tuple[Permission, ...], context: Context
) -> Iterator[RuleResult]:
    """The project is shared with somebody outside, or a member from outside may change it."""
    shared = [permission for permission in permissions if permission.revoked_at is None]
    members = () if isinstance(facts.members, Unread) else facts.members
    changing = [member for member in members if member.permission in _MAY_CHANGE and member.domain]
    if isinstance(facts.members, Unread) and facts.members.status is not Status.UNSUPPORTED:
        yield unclear(facts.id, f"the project's members: {facts.members.why}")
    if not shared and not changing:
        yield passed(facts.id, "shared with nobody")
    elif not context.policy.email_domains:
        count = f"shared with {len(shared)}, {len(changing)} members may change it"
        yield unclear(facts.id, f"{count}; no list of allowed domains is configured")
    else:
        domains = context.policy.email_domains
        outside = [
            failed(object_id(facts.id, permission.id), f"shared with an address of {permission.domain}")
            for permission in shared
            if not listed(permission.domain, domains)
        ]
        outside += [
            failed(object_id(facts.id, member.id), f"a member of {member.domain} is {member.permission} of the project")
            for member in changing
            if not listed(member.domain, domains)
        ]
        yield from verdict(facts.id, iter(outside), "shared within the list of domains only")


@control_over("P44", ProjectFacts, lambda facts: facts.jwks)
def jwks(facts: ProjectFacts, key_sets: tuple[Jwks, ...], context: Context) -> Iterator[RuleResult]:
    """A key set that nobody expects may sign in."""
    found = (
        failed(object_id(facts.id, jwk.id), f"key set {jwk.url} may sign in and is not on the list")
        for jwk in key_sets
        if not listed(jwk.url, context.policy.jwks_urls)
    )
    yield from verdict(facts.id, found, "no key set that is not on the list")


@control_over("P43", BranchFacts, lambda facts: facts.credentials)
def branch_credentials(
    facts: BranchFacts, credentials: tuple[Credential, ...], context: Context
) -> Iterator[RuleResult]:
    """A branch's credential for Neon's other services never ends, may do everything, or is not used."""
    where = object_id(facts.project_id, facts.id)
    found = []
    for credential in credentials:
        faults = ["never expires"] if credential.expires_at is None else []
        faults += ["may do everything"] if any("*" in scope for scope in credential.scopes) else []
        unused = 0.0 if credential.last_used_at is None else context.now - credential.last_used_at
        faults += ["is not used"] if unused > context.policy.key_unused_days * DAY else []
        if faults:
            text = f"{credential.kind or 'credential'} {' and '.join(faults)}"
            found.append(failed(object_id(where, credential.id), text))
    yield from verdict(where, found, f"{len(credentials)} credentials, each with its day and its scope")
