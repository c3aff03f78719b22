"""What to do about each error: by its anchor in `errors.OUTCOMES`. A test wants a line for every class."""

from __future__ import annotations

ADVICE: dict[str, str] = {
    "bug": "This should not happen. Run the command again with `HOLDFAST_DEBUG=1` and report the traceback; over "
    "HTTP the server's log has it. Nothing that was acknowledged before is affected.",
    "configuration": "Each problem names its file and line and says what to write instead; all of them are listed at "
    "once. Correct them, then run `holdfast check`.",
    "storage": "The message names the pool and what was tried. Run `holdfast check`: it writes, reads back and "
    "deletes a probe in every pool.",
    "not-found": "`holdfast ls` lists datasets, `holdfast ls --state deleted` those that were removed, `holdfast "
    "pools` the pools. This answer is never a guess: a pool that cannot be asked makes it `Unavailable` instead.",
    "already-exists": "Something has this name already, and nothing was changed. Choose another name, or look at "
    "what is there.",
    "precondition-failed": "A file changed while it was read, fewer bytes came than were announced, or somebody "
    "replaced the dataset since you looked. Nothing was stored. Look again, then repeat.",
    "invalid-key": "The message says which part of the name, id or label cannot be used. Names of datasets may hold "
    "slashes and dots, but no control characters; names of extra files may not leave their folder.",
    "corrupt": "The replica is marked `suspect` and is not handed out any more. Look at the disk first (its log, "
    "SMART). If you have the bytes elsewhere, `holdfast replace DATASET FILE` makes the dataset whole. `holdfast "
    "scrub` finds out whether others are damaged too.",
    "denied": "On a disk: give the server's user access to the pool's folder, or set the pool read-only. Over HTTP: "
    "sign in as somebody who may do this. A link that leads out of a pool is refused whatever the permissions.",
    "unauthenticated": "Sign in, or send a token: `Authorization: Bearer TOKEN` (`holdfast token new EMAIL` makes "
    "one). A session ends some time after it was last used.",
    "unsupported": "This kind of pool has no such ability. The message says which.",
    "no-space": "Every pool that was looked at is named with its reason. Make room, raise `max_percent_full` or "
    "`capacity`, set a pool active again, or add one (see [a full disk](../howto/add-a-disk.md)). It comes before "
    "the first byte wherever the size is known.",
    "quota-exceeded": "Remove what is not needed, or ask an administrator for more. With uploads: finish or delete "
    "the unfinished ones first.",
    "unavailable": "The place did not answer; nothing is said about what is in it. Look at the mount, the disk or "
    "the server that the message names, then try again. See [a pool that vanished](../howto/vanished-pool.md).",
    "outcome-unknown": "The bytes were written and the last step failed, so it is not known whether they survive a "
    "power cut. Read the dataset back before you store it again.",
    "forked-store": "Open the object anew in the child process.",
    "catalog": "The message says what the database said. Check its disk, its owner and its space. A damaged SQLite "
    "file is never written to: keep a copy, then [restore a backup](../howto/back-up-the-catalog.md).",
    "catalog-full": "Make room on the disk of the catalog (the state directory's, or PostgreSQL's). What was refused "
    "changed nothing and can be done again.",
    "conflict": "Somebody else replaces it, reads it, or a job counts on it. Wait a moment and ask again; "
    "`holdfast jobs` shows which jobs run.",
    "schema-mismatch": "Stop the servers, keep a copy of the catalog, and run `holdfast catalog upgrade`. If the "
    "catalog is newer than the program, install a newer Holdfast.",
    "operation": "The message says what went wrong. What was done is done, and what was not can be done again.",
    "cancelled": "Somebody asked for it. Start it again if that was a mistake.",
    "blocked": "The message says what has to change first.",
    "malformed": "The message says what to write instead; nothing was begun.",
}

ONLY_COMMAND_LINE: dict[str, tuple[int, str]] = {
    "usage": (
        2,
        "A command was called with options or arguments that it does not have, or they make no sense together. The "  # noqa: ISC004
        "message says which, and `holdfast COMMAND --help` shows an example.",
    ),
    "interrupted": (130, "Ctrl-C, or SIGINT. A put that was interrupted leaves nothing behind."),
}
