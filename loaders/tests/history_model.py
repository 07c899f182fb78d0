"""A model of history in plain Python: an independent implementation of its rules.

Deliveries of a key are recorded as (effective, delivered, content). A delivery is redundant if the
same content with the same effective date was delivered then or later, or if its content equals that
of the record just before it. Of several with the same effective date the last delivered is visible.
"""

from dataclasses import dataclass, field


@dataclass
class Key:
    records: list[tuple] = field(default_factory=list)
    ends: set = field(default_factory=set)

    def deliver(self, deliveries):
        newest = {}
        for effective, delivered, content in deliveries:
            same = (effective, content)
            newest[same] = max(delivered, newest.get(same, delivered))
        for (effective, content), delivered in sorted(
            newest.items(), key=lambda item: (item[0][0], item[1])
        ):
            self._record(effective, delivered, content)

    def _record(self, effective, delivered, content):
        if any(
            record[0] == effective and record[2] == content and record[1] >= delivered
            for record in self.records
        ):
            return
        before = [record for record in self.records if record[:2] < (effective, delivered)]
        last = max(before, default=None)
        ended = last is not None and any(last[0] < end <= effective for end in self.ends)
        if last is None or last[2] != content or ended:
            self.records.append((effective, delivered, content))

    def seen(self):
        """[(effective, expiry or None, content)] in order."""
        last_of = {}
        for effective, _, content in sorted(self.records):
            last_of[effective] = content
        starts = sorted(last_of)
        history = []
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            borders = [end for end in self.ends if end > start]
            if following is not None:
                borders.append(following)
            history.append((start, min(borders, default=None), last_of[start]))
        return history

    @property
    def is_current(self):
        return bool(self.records) and self.seen()[-1][1] is None


@dataclass
class Model:
    """All keys of one tenant and table."""

    keys: dict[str, Key] = field(default_factory=dict)

    def load(self, deliveries):
        """Deliveries: (key, effective, delivered, content)."""
        for name in {name for name, *_ in deliveries}:
            key = self.keys.setdefault(name, Key())
            key.deliver([rest for each, *rest in deliveries if each == name])

    def refresh(self, deliveries, taken_at, *, close):
        """A full refresh from exactly these deliveries."""
        present = {name for name, *_ in deliveries}
        for name in present & {name for name, key in self.keys.items() if not key.is_current}:
            key = self.keys[name]
            if not key.records:
                continue
            ended = key.seen()[-1][1]
            _, effective, delivered, content = max(
                (each for each in deliveries if each[0] == name), key=lambda each: each[1:3]
            )
            if effective < ended:
                again = max(taken_at, ended)
                deliveries = [*deliveries, (name, again, delivered, content)]
        self.load(deliveries)
        for name, key in self.keys.items():
            if close and name not in present and key.is_current:
                start = key.seen()[-1][0]
                if start < taken_at:
                    key.ends.add(taken_at)

    def seen(self):
        return {
            (name, start, expiry, content)
            for name, key in self.keys.items()
            for start, expiry, content in key.seen()
        }
