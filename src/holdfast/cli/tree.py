"""The command tree as a table: what there is, in which order, and where its code lies.

`holdfast --help` prints from this table alone and imports no command. A command's module is imported when
the command is run, or when its own help is asked for. The one line beside each name is the first line of
the command's docstring; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command: `target` is `module:function` below `holdfast.cli.commands`."""

    name: str
    target: str
    line: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A word that commands stand behind (`pool show`). With `alone` it is a command of its own, too."""

    name: str
    line: str
    leaves: tuple[Leaf, ...]
    example: str
    alone: Leaf | None = None

    def commands(self) -> Iterator[tuple[tuple[str, ...], Leaf]]:
        """Its commands with their words."""
        if self.alone is not None:
            yield (self.name,), self.alone
        for leaf in self.leaves:
            yield (self.name, leaf.name), leaf


@dataclass(frozen=True, slots=True)
class Section:
    """A heading in the list of commands."""

    title: str
    entries: tuple[Leaf | Branch, ...]


SECTIONS: tuple[Section, ...] = (
    Section(
        "Begin",
        (
            Leaf("init", "setup:init", "Write a commented holdfast.yml and the state directory."),
            Leaf("check", "checking:check", "Read the whole configuration and prove each pool."),
            Branch(
                "config",
                "The configuration as Holdfast understands it.",
                (Leaf("show", "setup:config_show", "Print the document as understood, secrets masked."),),
                "holdfast config show --expanded",
            ),
            Leaf("serve", "serving:serve", "Run the server, its pages and a worker."),
            Leaf("worker", "serving:worker", "Run one more worker, on this machine or another."),
        ),
    ),
    Section(
        "Datasets",
        (
            Leaf("put", "storing:put", "Store files as datasets."),
            Leaf("ls", "looking:ls", "List datasets, newest first."),
            Leaf("show", "looking:show", "Print everything that is known of one dataset."),
            Leaf("path", "looking:path", "Print a local path at which a dataset may be read."),
            Leaf("get", "looking:get", "Write a dataset's bytes to a file or to standard output."),
            Leaf("explain", "looking:explain", "Say why a dataset is where it is, or where one would go."),
            Leaf("replace", "storing:replace", "Give a dataset new bytes."),
            Leaf("rm", "storing:rm", "Remove datasets; their bytes stay until purge or expiry."),
            Leaf("restore", "storing:restore", "Bring a removed dataset back."),
        ),
    ),
    Section(
        "Pools",
        (
            Leaf("pools", "pools:pools", "List pools with what they hold and what is free."),
            Branch(
                "pool",
                "One pool: look at it, change its state, give it another id.",
                (
                    Leaf("show", "pools:pool_show", "Print everything that is known of one pool."),
                    Leaf("set", "pools:pool_set", "Set a pool's state."),
                    Leaf("rename", "pools:pool_rename", "Tell the catalog that a pool has another id now."),
                ),
                "holdfast pool set newdata --state read-only",
            ),
            Branch(
                "cache",
                "List cache folders with what they hold.",
                (
                    Leaf("ls", "cache:cache_ls", "List what the caches hold, by key."),
                    Leaf("warm", "warming:cache_warm", "Fetch datasets into the cache, whole and verified."),
                    Leaf("drop", "warming:cache_drop", "Take copies out of the cache; datasets stay in their pools."),
                ),
                "holdfast cache",
                alone=Leaf("cache", "cache:cache", "List cache folders with what they hold."),
            ),
        ),
    ),
    Section(
        "Operations",
        (
            Leaf("move", "moving:move", "Move datasets to another pool while people work."),
            Leaf("drain", "moving:drain", "Move everything out of a pool, so that it can be unplugged."),
            Leaf("rebalance", "moving:rebalance", "Move what is too much in one pool to those that have too little."),
            Leaf("scrub", "operations:scrub", "Read every stored byte and compare it with its checksum."),
            Leaf("reconcile", "operations:reconcile", "Compare the catalog with what lies in the pools."),
            Leaf("reap", "operations:reap", "Take away what is retired, and what dead processes left."),
            Leaf("ops", "ops:ops", "List operations, newest first."),
            Branch(
                "op",
                "One operation: look at it, pause it, go on, stop it.",
                (
                    Leaf("show", "ops:op_show", "Print an operation's progress and what it found."),
                    Leaf("pause", "ops:op_pause", "Let an operation stop after the step it is at."),
                    Leaf("resume", "ops:op_resume", "Take an operation up where it was."),
                    Leaf("cancel", "ops:op_cancel", "Stop an operation for good."),
                    Leaf("receipt", "receipts:op_receipt", "Write what an operation has moved, blob by blob, signed."),
                ),
                "holdfast op show 3",
            ),
            Branch(
                "receipt",
                "Receipts of what was moved.",
                (
                    Leaf("verify", "receipts:receipt_verify", "Say whether a receipt is as this instance signed it."),
                    Leaf("key", "receipts:receipt_key", "Print the public key with which receipts are verified."),
                ),
                "holdfast receipt verify drained.ndjson",
            ),
        ),
    ),
    Section(
        "Jobs",
        (
            Leaf("run", "jobs:run", "Run a command beside the data, as a job."),
            Leaf("jobs", "jobs:jobs", "List jobs, newest first."),
            Branch(
                "job",
                "One job: look at it, stop it.",
                (
                    Leaf("show", "jobs:job_show", "Print a job's state, inputs, outputs and what it wrote."),
                    Leaf("cancel", "jobs:job_cancel", "Stop a job with everything that it started."),
                ),
                "holdfast job show 3",
            ),
        ),
    ),
    Section(
        "Accounts and catalog",
        (
            Branch(
                "user",
                "Accounts.",
                (
                    Leaf("add", "accounts:user_add", "Add an account."),
                    Leaf("ls", "accounts:user_ls", "List accounts."),
                    Leaf("set", "accounts:user_set", "Change an account."),
                ),
                "holdfast user add alice@example.org --admin",
            ),
            Branch(
                "token",
                "Tokens for the API.",
                (Leaf("new", "accounts:token_new", "Make a token for the API and print it once."),),
                "holdfast token new alice@example.org --label backup",
            ),
            Branch(
                "catalog",
                "The catalog's database.",
                (
                    Leaf("upgrade", "catalog:upgrade", "Bring the catalog to this version's schema."),
                    Leaf("create", "catalog:create", "Make an empty catalog where the old one is lost."),
                    Leaf("copy", "catalog:copy", "Copy the whole catalog to another database."),
                ),
                "holdfast catalog upgrade",
            ),
        ),
    ),
)


def commands() -> Iterator[tuple[tuple[str, ...], Leaf]]:
    """Every command with its words, in the order of the table."""
    for section in SECTIONS:
        for entry in section.entries:
            if isinstance(entry, Leaf):
                yield (entry.name,), entry
            else:
                yield from entry.commands()
