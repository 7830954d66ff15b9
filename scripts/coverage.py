"""Writes docs/coverage.md: every method of every API, and whether the local cloud implements it.

It asks a running local cloud: RPCs by its own ledger, the APIs that are HTTP by birth by calling each method and
looking whether the answer is UNIMPLEMENTED. `python scripts/coverage.py [--check]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import httpx

from localcloud import control

TARGET = Path(__file__).resolve().parent.parent / "docs" / "coverage.md"

STORAGE = """
buckets.delete DELETE b/x
buckets.get GET b/x
buckets.getIamPolicy GET b/x/iam
buckets.getStorageLayout GET b/x/storageLayout
buckets.insert POST b
buckets.list GET b?project=p
buckets.lockRetentionPolicy POST b/x/lockRetentionPolicy?ifMetagenerationMatch=1
buckets.patch PATCH b/x
buckets.relocate POST b/x/relocate
buckets.restore POST b/x/restore?generation=1
buckets.setIamPolicy PUT b/x/iam
buckets.testIamPermissions GET b/x/iam/testPermissions?permissions=storage.objects.get
buckets.update PUT b/x
bucketAccessControls.list GET b/x/acl
defaultObjectAccessControls.list GET b/x/defaultObjectAcl
folders.list GET b/x/folders
managedFolders.list GET b/x/managedFolders
anywhereCaches.list GET b/x/anywhereCaches
notifications.delete DELETE b/x/notificationConfigs/1
notifications.get GET b/x/notificationConfigs/1
notifications.insert POST b/x/notificationConfigs
notifications.list GET b/x/notificationConfigs
objectAccessControls.list GET b/x/o/y/acl
objects.bulkRestore POST b/x/o/bulkRestore
objects.compose POST b/x/o/y/compose
objects.copy POST b/x/o/y/copyTo/b/z/o/w
objects.delete DELETE b/x/o/y
objects.get GET b/x/o/y
objects.getIamPolicy GET b/x/o/y/iam
objects.insert POST b/x/o?uploadType=media&name=y
objects.list GET b/x/o
objects.move POST b/x/o/y/moveTo/o/z
objects.patch PATCH b/x/o/y
objects.restore POST b/x/o/y/restore?generation=1
objects.rewrite POST b/x/o/y/rewriteTo/b/z/o/w
objects.update PUT b/x/o/y
objects.watchAll POST b/x/o/watch
projects.hmacKeys.list GET projects/p/hmacKeys
projects.serviceAccount.get GET projects/p/serviceAccount
"""
BIGQUERY = """
datasets.delete DELETE projects/p/datasets/d
datasets.get GET projects/p/datasets/d
datasets.insert POST projects/p/datasets
datasets.list GET projects/p/datasets
datasets.patch PATCH projects/p/datasets/d
datasets.undelete POST projects/p/datasets/d:undelete
datasets.update PUT projects/p/datasets/d
jobs.cancel POST projects/p/jobs/j/cancel
jobs.delete DELETE projects/p/jobs/j/delete
jobs.get GET projects/p/jobs/j
jobs.getQueryResults GET projects/p/queries/j
jobs.insert POST projects/p/jobs
jobs.list GET projects/p/jobs
jobs.query POST projects/p/queries
models.delete DELETE projects/p/datasets/d/models/m
models.get GET projects/p/datasets/d/models/m
models.list GET projects/p/datasets/d/models
models.patch PATCH projects/p/datasets/d/models/m
projects.getServiceAccount GET projects/p/serviceAccount
projects.list GET projects
routines.delete DELETE projects/p/datasets/d/routines/r
routines.get GET projects/p/datasets/d/routines/r
routines.insert POST projects/p/datasets/d/routines
routines.list GET projects/p/datasets/d/routines
routines.update PUT projects/p/datasets/d/routines/r
rowAccessPolicies.list GET projects/p/datasets/d/tables/t/rowAccessPolicies
tabledata.insertAll POST projects/p/datasets/d/tables/t/insertAll
tabledata.list GET projects/p/datasets/d/tables/t/data
tables.delete DELETE projects/p/datasets/d/tables/t
tables.get GET projects/p/datasets/d/tables/t
tables.getIamPolicy POST projects/p/datasets/d/tables/t:getIamPolicy
tables.insert POST projects/p/datasets/d/tables
tables.list GET projects/p/datasets/d/tables
tables.patch PATCH projects/p/datasets/d/tables/t
tables.setIamPolicy POST projects/p/datasets/d/tables/t:setIamPolicy
tables.testIamPermissions POST projects/p/datasets/d/tables/t:testIamPermissions
tables.update PUT projects/p/datasets/d/tables/t
"""
HTTP_APIS = {
    "Cloud Storage (JSON API v1)": ("/storage/v1/", STORAGE),
    "BigQuery (REST v2)": ("/bigquery/v2/", BIGQUERY),
}
"""Title to where the API answers and its methods: id, verb, path. https://cloud.google.com/storage/docs/json_api/v1 and
https://cloud.google.com/bigquery/docs/reference/rest name them."""


def main() -> int:
    """Writes the page, or with `--check` says whether it is up to date."""
    with tempfile.TemporaryDirectory(prefix="mlops-coverage-") as folder:
        root = Path(folder) / "cloud"
        running, _ = control.start(root)
        try:
            text = _page(running.url)
        finally:
            control.stop(root)
    if "--check" in sys.argv:
        same = TARGET.exists() and TARGET.read_text() == text
        print("docs/coverage.md is up to date" if same else "docs/coverage.md is out of date: run `make coverage`")
        return 0 if same else 1
    TARGET.write_text(text)
    return 0


def _page(url: str) -> str:
    client = httpx.Client(base_url=url, trust_env=False, timeout=30)
    sections: list[tuple[str, dict[str, bool]]] = []
    for api in client.get("coverage").json().values():
        sections += sorted(api.items())
    for title, (prefix, methods) in HTTP_APIS.items():
        sections.append(
            (title, {line.split()[0]: _served(client, prefix, line) for line in methods.split("\n") if line})
        )
    lines = [
        "# What the local cloud implements",
        "",
        "Generated by `make coverage` from a running server. A method that is not implemented answers UNIMPLEMENTED",
        "(HTTP 501) and names itself; v1beta1 of Vertex AI is served by the implementation of v1 where both have the",
        "method.",
        "",
        "| service | implemented | of |",
        "|---|---:|---:|",
    ]
    lines += [f"| [{title}](#{_anchor(title)}) | {sum(rpcs.values())} | {len(rpcs)} |" for title, rpcs in sections]
    for title, rpcs in sections:
        lines += ["", f"## {title}", ""]
        for heading, wanted in (("Implemented", True), ("Not implemented", False)):
            names = sorted(name for name, served in rpcs.items() if served is wanted)
            if names:
                lines.append(f"- **{heading}:** {', '.join(names)}")
    return "\n".join(lines) + "\n"


def _served(client: httpx.Client, prefix: str, line: str) -> bool:
    _, verb, path = line.split()
    body = None if verb in ("GET", "DELETE") else {}
    return client.request(verb, prefix + path, json=body).status_code != 501


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


if __name__ == "__main__":
    sys.exit(main())
