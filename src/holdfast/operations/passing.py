"""Time that was seen to pass, for what must not come early because a clock jumped.

What expires gives bytes up for good, so it does not go by the clock alone. `look` is called while a server or worker
lives, and when somebody reaps; the catalog remembers the time of the last look. Time between two looks is believed if
it is a day at most. After a leap (the clock jumped, or nobody looked for longer) nothing more is believed until the
time after the leap has stood for a week: long enough to put a clock right, or to say `restore`.

It does not tell a clock that is wrong from one that is right: it gives people time. A clock that goes back is believed
at once, because nothing expires by that.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from holdfast.hold.hold import Hold

DAY_US = 86_400 * 1_000_000
LEAP_US = DAY_US
DOUBT_US = 7 * DAY_US
EVERY_US = 3_600 * 1_000_000
SETTING = "time.seen"


@dataclass(frozen=True, slots=True)
class Passing:
    """What is known of time, in microseconds since 1970: the last look, the time up to which things may expire, and
    since when the clock is doubted (None: it is not)."""

    seen_us: int
    believed_us: int
    doubted_us: int | None = None

    def after(self, now_us: int) -> Passing:
        """What is known when the clock shows `now_us`."""
        if now_us < self.seen_us:
            return Passing(now_us, min(self.believed_us, now_us))
        is_leap = now_us - self.seen_us > LEAP_US
        if self.doubted_us is None:
            return Passing(now_us, self.believed_us, now_us) if is_leap else Passing(now_us, now_us)
        if now_us - self.doubted_us < DOUBT_US:
            passed_us = 0 if is_leap else now_us - self.seen_us
            return Passing(now_us, self.believed_us + passed_us, self.doubted_us)
        # the time after the last leap has stood; after another leap only that one is believed
        return Passing(now_us, max(self.believed_us, self.doubted_us), now_us) if is_leap else Passing(now_us, now_us)

    def held_back_s(self) -> int:
        """By how much the clock is ahead of what is believed, in seconds."""
        return (self.seen_us - self.believed_us) // 1_000_000


def look(hold: Hold) -> Passing:
    """What is believed now; remembered, once an hour at most while nothing is odd."""
    before, now = _remembered(hold), known(hold)
    if before is None or now.doubted_us != before.doubted_us or not 0 <= now.seen_us - before.seen_us < EVERY_US:
        hold.catalog.set(SETTING, json.dumps(asdict(now)))
    return now


def known(hold: Hold) -> Passing:
    """The same, and nothing is written down."""
    now_us = hold.clock.now_us()
    before = _remembered(hold)
    if before is None:  # nobody has looked yet: the last thing that happened is the last sign of a time
        events = hold.events(1)
        last_us = min(events[0].at_us, now_us) if events else now_us
        before = Passing(last_us, last_us)
    return before.after(now_us)


def _remembered(hold: Hold) -> Passing | None:
    text = hold.catalog.setting(SETTING)
    return None if text is None else Passing(**json.loads(text))
