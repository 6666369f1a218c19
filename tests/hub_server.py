"""A real HTTP server on loopback that speaks the routes of the Hugging Face Hub which its client asks for."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import urllib.parse

import loopback

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(loopback.Server):
    """Serves `repositories`, `{"owner/name": {path: bytes}}`, at the revision "main" and those in `revisions`.

    Attributes:
        revisions: `{"owner/name": {name: files}}` of branches, tags and commits beside the main branch.
        gated: repositories whose owner grants access; `private`: those that only who has `token` sees.
        large: files above so many bytes go by LFS.
        log: `(method, path)` of each request.
        commits: summary of each commit.
        refused: what the next requests to upload are answered with, as an HTTP status.
    """

    token = "hf_secret"

    def __init__(self):
        super().__init__(Handler)
        self.repositories, self.revisions, self.gated, self.private = {}, {}, set(), set()
        self.large, self.log, self.commits, self.objects, self.refused = 10_000, [], [], {}, None


class Handler(loopback.Silent, http.server.BaseHTTPRequestHandler):
    def reply(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message):
        self.reply(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def read(self):
        """The body of the request; it is read in any case, or the next request would begin with it."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self):
        path = urllib.parse.urlsplit(self.path).path
        self.server.log.append((self.command, path))
        self.body = self.read()
        for pattern, route in ROUTES.items():
            method, _, wanted = pattern.partition(" ")
            match = re.fullmatch(wanted, path)
            if match and self.command in method.split(","):
                return route(self, **match.groupdict())
        return self.refuse(404, "", f"no such route: {path}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    @property
    def known(self):
        return self.headers.get("Authorization") == f"Bearer {self.server.token}"

    def files(self, repository, revision):
        """The files of a repository at a revision; `None` if it was refused."""
        server = self.server
        if repository not in server.repositories or (repository in server.private and not self.known):
            return self.refuse(401, "RepoNotFound", "Repository not found")
        if repository in server.gated and not self.known:
            return self.refuse(401, "GatedRepo", f"Access to model {repository} is restricted.")
        revision = urllib.parse.unquote(revision)
        if revision in ("main", COMMIT):
            return server.repositories[repository]
        if revision not in server.revisions.get(repository, {}):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return server.revisions[repository][revision]

    def resolve(self, repository, revision, file):
        files = self.files(repository, revision)
        if files is None:
            return
        commit = {"X_Repo_Commit": COMMIT if revision == "main" else hashlib.sha1(revision.encode()).hexdigest()}
        if file not in files:
            return self.reply(404, b"Entry not found", X_Error_Code="EntryNotFound", **commit)
        content = files[file]
        commit |= {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        start = int((re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) or "00")[1])
        if start:
            commit["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206 if start else 200, content[start:], **commit)

    def tree(self, repository, revision):
        files = self.files(repository, revision)
        if files is not None:
            self.reply(200, [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items()])

    def about(self, repository, revision="main"):
        files = self.files(repository, revision)
        if files is not None:
            siblings = [{"rfilename": path} for path in files]
            self.reply(200, {"id": repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})

    def create(self):
        if not self.known:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        asked = json.loads(self.body)
        repository = f"{asked.get('organization') or 'user'}/{asked['name']}"
        if repository in self.server.repositories:
            return self.reply(409, {"error": "You already created this model repo", "url": self.address(repository)})
        self.server.repositories[repository] = {".gitattributes": b""}
        if asked.get("private") or asked.get("visibility") == "private":
            self.server.private.add(repository)
        return self.reply(200, {"url": self.address(repository), "name": repository, "id": repository})

    def address(self, repository):
        return f"{self.server.url}/{repository}"

    def preupload(self, repository, revision):
        if self.server.refused or not self.known:
            return self.refuse(self.server.refused or 401, "", "Forbidden")
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] > self.server.large else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(self.body)["files"]
        ]
        return self.reply(200, {"files": modes})

    def batch(self, repository):
        asked = json.loads(self.body)["objects"]
        objects = [
            {**found, "actions": {"upload": {"href": f"{self.server.url}/lfs/{found['oid']}"}}} for found in asked
        ]
        self.reply(200, {"transfer": "basic", "objects": objects})

    def store(self, oid):
        self.server.objects[oid] = self.body
        self.reply(200)

    def commit(self, repository, revision):
        files = self.server.repositories[repository]
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                self.server.commits.append(value["summary"])
            elif operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                content = self.server.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"] and len(content) == value["size"]
                files[value["path"]] = content
        url = f"{self.address(repository)}/commit/{COMMIT}"
        self.reply(200, {"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def who(self):
        self.reply(200, {"name": "user", "type": "user"}) if self.known else self.refuse(401, "", "Invalid credentials")


_NAME = r"(?P<repository>[\w.-]+/[\w.-]+)"
ROUTES = {
    rf"GET,HEAD /{_NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)": Handler.resolve,
    rf"GET /api/models/{_NAME}/tree/(?P<revision>[^/]+)": Handler.tree,
    rf"GET /api/models/{_NAME}/revision/(?P<revision>[^/]+)": Handler.about,
    rf"GET /api/models/{_NAME}": Handler.about,
    r"GET /api/whoami-v2": Handler.who,
    r"POST /api/repos/create": Handler.create,
    rf"POST /api/models/{_NAME}/preupload/(?P<revision>[^/]+)": Handler.preupload,
    rf"POST /{_NAME}\.git/info/lfs/objects/batch": Handler.batch,
    r"PUT /lfs/(?P<oid>\w+)": Handler.store,
    rf"POST /api/models/{_NAME}/commit/(?P<revision>[^/]+)": Handler.commit,
    r"POST /api/validate-yaml": lambda handler: handler.reply(200, {"errors": [], "warnings": []}),
}


def running():
    """A server that runs until the end of the block."""
    return loopback.running(HubServer())


@contextlib.contextmanager
def client_of(server, cache, patch):
    """Let `huggingface_hub` in this process ask `server` and keep what it fetches in `cache`."""
    from huggingface_hub import constants

    patch.setenv("no_proxy", "127.0.0.1")
    for name, value in {
        "ENDPOINT": server.url,
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_HUB_DISABLE_XET": True,  # which has a protocol of its own, with its own servers
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        patch.setattr(constants, name, value)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.delenv("HF_TOKEN", raising=False)
    yield server
