"""A pytest plugin for `make test-all`: what passed, at which commit, and where to go on.

    PYTHONPATH=tests python -m pytest -p verified -m "slow or not slow" [PATH ...]

The exhaustive cases take hours, so they may be run in parts: some paths now, others later, or all until you stop it.
What passed at the current commit is not run again; pytest's cache remembers it. `docs/verified.json` has a row for each
test function with exhaustive cases, `docs/verified.md` shows these rows, and both are committed. Nothing is recorded
while the tree has changes that are not committed: the record would name a commit without them.
"""

import collections
import datetime
import json
import os
import subprocess

import pytest

from benchmarks import machine

HEAD = """# What was verified

`make test-all` writes this page from `verified.json`: for each test with exhaustive cases, how many of them passed, at
which commit and on what machine. `make test-all PART="tests/export tests/fusion"` runs a part. A run goes on where the
last one at this commit stopped.

| test | passed | commit | day | machine |
| --- | --- | --- | --- | --- |
"""


def git(root, *words) -> str:
    """What git prints; nothing where there is no repository."""
    command = ["git", "-C", root, *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def function(identifier: str) -> str:
    """The test function of a test's identifier: without its parameters."""
    return identifier.partition("[")[0]


class Leftover:
    """Leaves out what passed before at this commit."""

    def __init__(self, passed):
        self.passed = set(passed)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        done = [item for item in items if item.nodeid in self.passed]
        items[:] = [item for item in items if item.nodeid not in self.passed]
        config.hook.pytest_deselected(items=done)


class Record:
    """Collects what passes, and writes it."""

    def __init__(self, config, commit: str):
        self.cache, self.commit, self.folder = config.cache, commit, config.rootpath / "docs"
        self.key = f"verified/{commit}"
        self.before = self.cache.get(self.key, {})
        self.passed, self.failed, self.collected = dict(self.before), {}, set(self.before)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["verified"] = sorted(self.before)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.collected.update(ids)

    def pytest_collection_finish(self, session):
        self.collected.update(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed[report.nodeid] = "slow" in report.keywords
            self.passed.pop(report.nodeid, None)
        elif report.when == "call" and report.passed:
            self.passed[report.nodeid] = "slow" in report.keywords
        else:
            return
        self.cache.set(self.key, self.passed)

    def pytest_sessionfinish(self, session):
        ran = {*self.passed, *self.failed} - set(self.before)
        if ran:
            write(self.folder, self.rows(), {function(identifier) for identifier in self.collected})

    def rows(self):
        """A row for each function with exhaustive cases."""
        cases, passed, failed = (
            collections.Counter(map(function, identifiers))
            for identifiers in (self.collected, self.passed, self.failed)
        )
        everything = (*self.passed.items(), *self.failed.items())
        exhaustive = {function(identifier) for identifier, slow in everything if slow}
        where = f"{machine.processor()}, {os.cpu_count()} CPUs"
        day = datetime.date.today().isoformat()
        return [
            dict(test=name, cases=cases[name], passed=passed[name], failed=failed[name])
            | dict(commit=self.commit, day=day, machine=where)
            for name in exhaustive
        ]


def write(folder, rows, functions):
    """Write the rows in the place of older ones of these functions."""
    file = folder / "verified.json"
    kept = json.loads(file.read_text()) if file.exists() else []
    rows = [*rows, *(row for row in kept if row["test"] not in functions)]
    rows.sort(key=lambda row: row["test"])
    for path, text in ((file, json.dumps(rows, indent=1) + "\n"), (folder / "verified.md", page(rows))):
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(path)


def page(rows) -> str:
    """The page that shows the rows."""
    lines = []
    for row in rows:
        counts = f"{row['passed']} of {row['cases']}" + (f", **{row['failed']} failed**" if row["failed"] else "")
        lines.append(f"| `{row['test']}` | {counts} | {row['commit']} | {row['day']} | {row['machine']} |\n")
    return HEAD + "".join(lines)


def pytest_configure(config):
    if (passed := getattr(config, "workerinput", {}).get("verified")) is not None:  # a process that xdist started
        config.pluginmanager.register(Leftover(passed))
        return
    commit = git(config.rootpath, "rev-parse", "--short=10", "HEAD")
    changed = git(config.rootpath, "status", "--porcelain", "--", ".", ":!docs/verified.*")
    if commit and not changed:
        record = Record(config, commit)
        config.pluginmanager.register(record)
        config.pluginmanager.register(Leftover(record.before))
    elif not hasattr(config, "workerinput"):
        why = "the tree has changes that are not committed" if commit else "this is no git repository"
        config.issue_config_time_warning(pytest.PytestWarning(f"docs/verified.md stays as it is: {why}"), stacklevel=2)
