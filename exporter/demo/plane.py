"""The control plane's GET routes: which there are, what each needs, and what it answers from a view and a usage."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from exporter.demo import consumption
from exporter.demo.answers import REGIONS, Answers, Json, region
from exporter.demo.consumption import allow, pagination, usage_of
from exporter.demo.lastactive import LastActive
from exporter.demo.request import ApiError, Key, Request, page
from exporter.demo.security import TwinApiKey
from exporter.demo.security_answers import SecurityAnswers
from exporter.demo.view import Usage, View
from exporter.demo.world import TwinBranch, TwinEndpoint, TwinProject

Route = Callable[..., Json]


class Plane:
    """Answers requests. Stateless but for what it looks at; every method that ends in a route takes path parts."""

    def __init__(self, view: View, usage: Usage, answers: Answers, active: LastActive, keys: dict[str, Key]) -> None:
        """Serve ``view``; ``keys`` maps secrets to what they open, for the list of keys."""
        self._view = view
        self._usage = usage
        self._answers = answers
        self._security = SecurityAnswers(view, answers.settings)
        self._active = active
        self._keys = keys
        self.beside: list[Plane] = []
        """Other organisations of the person behind a personal key."""
        self._routes = [(re.compile(_pattern(path)), path, route) for path, route in self._table()]

    def _table(self) -> list[tuple[str, Route]]:
        project, branch = "/projects/{project_id}", "/projects/{project_id}/branches/{branch_id}"
        return [
            ("/auth", self._auth),
            ("/users/me", self._user),
            ("/users/me/organizations", self._organizations),
            ("/api_keys", self._personal_keys),
            ("/organizations/{org_id}", self._organization),
            ("/organizations/{org_id}/members", self._members),
            ("/organizations/{org_id}/api_keys", self._api_keys),
            ("/organizations/{org_id}/billing/spending_limit", self._spending_limit),
            ("/organizations/{org_id}/vpc/vpc_endpoints", self._org_vpc),
            ("/projects", self._projects),
            (project, self._project),
            (f"{project}/branches", self._branches),
            (f"{project}/branches/count", self._branch_count),
            (branch, self._branch),
            (f"{branch}/endpoints", self._branch_endpoints),
            (f"{branch}/databases", self._databases),
            (f"{branch}/roles", self._roles),
            (f"{branch}/backup_schedule", self._backup_schedule),
            (f"{branch}/masking_rules", self._masking_rules),
            (f"{branch}/anonymized_status", self._anonymized_status),
            (f"{branch}/credentials", self._credentials),
            (f"{project}/endpoints", self._endpoints),
            (f"{project}/endpoints/{{endpoint_id}}", self._endpoint),
            (f"{project}/operations", self._operations),
            (f"{project}/permissions", self._permissions),
            (f"{project}/jwks", self._jwks),
            (f"{project}/vpc_endpoints", self._vpc),
            (f"{project}/snapshots", self._snapshots),
            ("/consumption_history/v2/projects", self._consumption_projects),
            ("/consumption_history/v2/branches", self._consumption_branches),
            ("/regions", self._regions),
        ]

    @property
    def routes(self) -> list[str]:
        """Every route, as the OpenAPI document writes it."""
        return [name for _, name, _ in self._routes]

    def route_of(self, path: str) -> str:
        """The pattern that a path fits, as the OpenAPI document writes it; empty when there is none."""
        return next((name for regex, name, _ in self._routes if regex.fullmatch(path)), "")

    def answer(self, request: Request) -> Json:
        """The body of a 200.

        Raises:
            ApiError: anything else.
        """
        if request.key.kind == "personal":
            for plane in self.beside:
                if plane.serves(request):
                    return plane.answer(request)
        for regex, _, route in self._routes:
            found = regex.fullmatch(request.path)
            if found:
                return route(request, **found.groupdict())
        raise ApiError(404, "this route does not exist")

    def serves(self, request: Request) -> bool:
        """Whether a request is about this organisation: by its parameter, its path, or its project."""
        steps = request.path.split("/")
        if request.text("org_id") == self._view.org_id or steps[1:3] == ["organizations", self._view.org_id]:
            return True
        return steps[1] == "projects" and len(steps) > 2 and self._view.project(steps[2]) is not None

    # Accounts.

    def _auth(self, request: Request) -> Json:
        return self._answers.auth(personal=request.key.kind == "personal")

    def _user(self, request: Request) -> Json:
        if request.key.kind != "personal":
            raise ApiError(404, "user not found: this key belongs to an organization")
        return self._answers.user()

    def _organizations(self, request: Request) -> Json:
        if request.key.kind != "personal":
            raise ApiError(404, "user not found: this key belongs to an organization")
        return {"organizations": [plane.described() for plane in (self, *self.beside)]}

    def described(self) -> Json:
        """The organisation."""
        return self._answers.organization()

    def _same_org(self, request: Request, org_id: str) -> None:
        allow(self._view, request.key)
        if org_id != self._view.org_id:
            raise ApiError(404, f"organization {org_id} not found")

    def _organization(self, request: Request, org_id: str) -> Json:
        self._same_org(request, org_id)
        return self._answers.organization()

    def _members(self, request: Request, org_id: str) -> Json:
        self._same_org(request, org_id)
        request.number("limit", 500, 1, 500)
        return {"members": self._security.members()}

    def _api_keys(self, request: Request, org_id: str) -> Any:
        self._same_org(request, org_id)
        return self._security.keys(self._opening("org", "project"), personal=False)

    def _personal_keys(self, request: Request) -> Any:
        if request.key.kind != "personal":
            raise ApiError(404, "user not found: this key belongs to an organization")
        return self._security.keys(self._opening("personal"), personal=True)

    def _opening(self, *kinds: str) -> list[TwinApiKey]:
        """The keys that open this control plane; the first of them is in use now."""
        mine = [key for key in self._keys.values() if key.kind in kinds]
        began, now = self._view.created_at, self._view.now()
        return [
            TwinApiKey(key.name or key.kind, began, None if number else now, "" if number else "127.0.0.1",
                       key.project_id)
            for number, key in enumerate(mine)
        ]  # fmt: skip

    def _spending_limit(self, request: Request, org_id: str) -> Json:
        self._same_org(request, org_id)
        return {"spending_limit_cents": self._view.spending_limit_cents}

    def _org_vpc(self, request: Request, org_id: str) -> Json:
        self._same_org(request, org_id)
        return {"endpoints": []}

    # Projects.

    def _projects(self, request: Request) -> Json:
        organisation = request.text("org_id")
        if not organisation and request.key.kind == "personal":
            raise ApiError(400, "org_id is required, you can find it on your organization settings page")
        if organisation not in ("", self._view.org_id):
            raise ApiError(404, f"organization {organisation} not found")
        request.number("timeout", 100, 100, 30000)
        if request.text("recoverable") == "true":
            gone = [self._answers.project_item(project, None) for project in self._view.recoverable]
            return {"projects": gone, "applications": {}, "integrations": {}}
        ids = [project_id for project_id in self._view.project_ids() if request.key.project_id in ("", project_id)]
        search = request.text("search").lower()
        if search:
            ids = [name for name in ids if search in name or search in self._known(name).name.lower()]
        chosen = page(ids, request, request.number("limit", 10, 1, 400), lambda name: name)
        rows = [found for name in chosen.items if (found := self._view.project(name))]
        return {
            "projects": [self._answers.project_item(row, self._newest(row.id)) for row in rows],
            "applications": {},
            "integrations": {},
            **pagination(chosen, request),
        }

    def _newest(self, project_id: str) -> float | None:
        return max(filter(None, map(self._active.seen, self._view.endpoints(project_id))), default=None)

    def _known(self, project_id: str) -> TwinProject:
        found = self._view.project(project_id)
        if found is None:
            raise ApiError(404, "project not found")
        return found

    def _allowed(self, request: Request, project_id: str) -> TwinProject:
        if request.key.project_id not in ("", project_id):
            raise ApiError(404, "project not found")
        return self._known(project_id)

    def _project(self, request: Request, project_id: str) -> Json:
        project = self._allowed(request, project_id)
        used = usage_of(lambda frames: self._usage.project(project_id, frames), self._view.now())
        return {"project": self._answers.project_detail(project, self._newest(project_id), used)}

    # Branches.

    def _branch_json(self, branch: TwinBranch) -> Json:
        used = usage_of(lambda frames: self._usage.branch(branch.project_id, branch.id, frames), self._view.now())
        return self._answers.branch(branch, used)

    def _branches(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        field = request.choice("sort_by", "updated_at", ("name", "created_at", "updated_at"))
        order = request.choice("sort_order", "desc", ("asc", "desc"))
        sign = 1 if order == "asc" else -1

        def key(branch: TwinBranch) -> list[Any]:
            value = getattr(branch, field)
            first = [sign * ord(letter) for letter in value] if isinstance(value, str) else sign * value
            return [first, branch.id]

        found = sorted(self._matching(request, project_id), key=key)
        chosen = page(found, request, request.number("limit", 10000, 1, 10000), key)
        following = {"next": chosen.cursor} if chosen.more else {}
        return {
            "branches": [self._branch_json(branch) for branch in chosen.items],
            "annotations": {},
            "pagination": {**following, "sort_by": field, "sort_order": order},
        }

    def _matching(self, request: Request, project_id: str) -> list[TwinBranch]:
        search = request.text("search").lower()
        return [
            branch for branch in self._view.branches(project_id) if search in branch.name.lower() or search in branch.id
        ]

    def _branch_count(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        return {"count": len(self._matching(request, project_id))}

    def _one_branch(self, request: Request, project_id: str, branch_id: str) -> TwinBranch:
        self._allowed(request, project_id)
        for branch in self._view.branches(project_id):
            if branch.id == branch_id:
                return branch
        raise ApiError(404, "branch not found")

    def _branch(self, request: Request, project_id: str, branch_id: str) -> Json:
        branch = self._one_branch(request, project_id, branch_id)
        about = {"object": {"type": "console/branch", "id": branch_id}, "value": {}}
        return {"branch": self._branch_json(branch), "annotation": about}

    def _databases(self, request: Request, project_id: str, branch_id: str) -> Json:
        self._one_branch(request, project_id, branch_id)
        found = enumerate(self._view.databases(branch_id), 1)
        return {"databases": [self._answers.database(number, branch_id, database) for number, database in found]}

    def _roles(self, request: Request, project_id: str, branch_id: str) -> Json:
        self._one_branch(request, project_id, branch_id)
        return {"roles": [self._answers.role(branch_id, role) for role in self._view.roles(branch_id)]}

    def _backup_schedule(self, request: Request, project_id: str, branch_id: str) -> Json:
        self._one_branch(request, project_id, branch_id)
        frequency = self._view.backup_frequency(branch_id)
        return {"schedule": [{"frequency": frequency, "hour": 3, "retention_seconds": 604800}] if frequency else []}

    def _masking_rules(self, request: Request, project_id: str, branch_id: str) -> Json:
        self._one_branch(request, project_id, branch_id)
        return self._security.masking_rules(branch_id)

    def _anonymized_status(self, request: Request, project_id: str, branch_id: str) -> Json:
        self._one_branch(request, project_id, branch_id)
        return self._security.anonymized_status(project_id, branch_id)

    def _credentials(self, request: Request, project_id: str, branch_id: str) -> Json:
        self._one_branch(request, project_id, branch_id)
        return self._security.credentials(branch_id)

    # Computes and what is beside them.

    def _endpoint_json(self, endpoint: TwinEndpoint, project: TwinProject) -> Json:
        return self._answers.endpoint(endpoint, project.region_id, self._active.seen(endpoint))

    def _endpoints(self, request: Request, project_id: str) -> Json:
        project = self._allowed(request, project_id)
        return {"endpoints": [self._endpoint_json(endpoint, project) for endpoint in self._view.endpoints(project_id)]}

    def _branch_endpoints(self, request: Request, project_id: str, branch_id: str) -> Json:
        project = self._allowed(request, project_id)
        self._one_branch(request, project_id, branch_id)
        mine = [endpoint for endpoint in self._view.endpoints(project_id) if endpoint.branch_id == branch_id]
        return {"endpoints": [self._endpoint_json(endpoint, project) for endpoint in mine]}

    def _endpoint(self, request: Request, project_id: str, endpoint_id: str) -> Json:
        project = self._allowed(request, project_id)
        for endpoint in self._view.endpoints(project_id):
            if endpoint.id == endpoint_id:
                return {"endpoint": self._endpoint_json(endpoint, project)}
        raise ApiError(404, "endpoint not found")

    def _operations(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        found = sorted(self._view.operations(project_id), key=lambda operation: [-operation.created_at, operation.id])
        limit = request.number("limit", 1000, 1, 1000)
        chosen = page(found, request, limit, lambda operation: [-operation.created_at, operation.id])
        return {
            "operations": [self._answers.operation(operation) for operation in chosen.items],
            **pagination(chosen, request),
        }

    def _permissions(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        return self._security.permissions(project_id)

    def _jwks(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        return self._security.jwks(project_id)

    def _vpc(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        return {"endpoints": []}

    def _snapshots(self, request: Request, project_id: str) -> Json:
        self._allowed(request, project_id)
        return {"snapshots": [self._answers.snapshot(snapshot) for snapshot in self._view.snapshots(project_id)]}

    # The rest.

    def _consumption_projects(self, request: Request) -> Json:
        return consumption.answer_projects(self._view, self._usage, request)

    def _consumption_branches(self, request: Request) -> Json:
        return consumption.answer_branches(self._view, self._usage, request)

    def _regions(self, request: Request) -> Json:
        del request
        return {"regions": [region(name) for name in REGIONS]}


def _pattern(path: str) -> str:
    return re.sub(r"\{(\w+)\}", r"(?P<\1>[a-z0-9-]{1,60})", path)
