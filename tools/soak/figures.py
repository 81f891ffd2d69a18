"""The figures of a soak, and how the documents show them."""

import statistics
from collections import Counter

import numpy as np

JUDGED = 600  # instances that a life of the node has to have for its memory to be judged, by its second half
CURVE_EVERY = 50  # instances
FLAT_MB = 5.0  # of growth for 1,000 instances; see `memory`
FLAT_MOST = {"threads": 3, "files": 6}  # by which the upper quartile may be higher at the end of that half than at its begin
MILESTONES = range(500, 100_001, 500)


def figures(seen):
    """What a soak measured."""
    node, sender, archive = seen.node, seen.sender, seen.archive
    arrivals = [result.arrivals for result in archive.results.values()]
    return {
        "instances": len(seen.sources),
        "kinds": dict(Counter(source.kind for source in seen.sources)),
        "studies": len({source.study_uid for source in seen.sources}),
        "acknowledged": len(sender.acknowledged),
        "refused": len(sender.refused),
        "statuses": dict(sender.statuses),
        "results": len(archive.results),
        "results_sent_again": sum(arrivals) - len(arrivals),
        "answered": seen.counts.get("answered"),
        "dead_letters": seen.counts.get("jobs_rejected"),
        "known": seen.counts.get("known"),
        "conflicts": seen.counts.get("conflicts"),
        "kills": node.kills,
        "starts_that_failed": {str(code): count for code, count in node.failed_starts.items()},
        "happened": dict(Counter(what for _, what in seen.happened)),
        "connections_ended_in_their_midst": sum(seen.dropped.values()),
        "refused_by_the_archive": archive.refused,
        "full_disk": seen.disk,
        "events": dict(sorted(node.events.items())),
        "failures_told": dict(sorted(node.failures.items())),
        "seconds": round(seen.seconds, 1),
        "instances_per_minute": round(60 * len(seen.sources) / seen.seconds, 1) if seen.seconds else None,
        "recovery_seconds": {
            name: _spread([times[place] for times in seen.recoveries])
            for place, name in enumerate(("until_it_listens", "until_it_acknowledges", "until_it_has_answered"))
        },
        "memory": memory(seen.samples),
        "counts": seen.counts,
    }


def _spread(values):
    if not values:
        return None
    return {
        "median": round(statistics.median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
        "count": len(values),
    }


def memory(samples):
    """How memory, threads and files went, over all lives of the node and in the longest one.

    Flat is a slope of resident memory of at most FLAT_MB for 1,000 instances over the second half of the longest life:
    what an instance leaves behind is less than a fortieth of its own size, so no image, answer or association is kept. In
    the first half the allocator, the threads and the database's cache come to their size; `curve_mb` shows both.
    `slope_error_mb` is one standard error, from the scatter of the samples about the line.
    """
    milestones = {}
    for sample in samples:
        for at in MILESTONES:
            if sample.answered >= at and at not in milestones:
                milestones[at] = {"mb": round(sample.rss_mb, 1), "life": sample.life}
    if not samples:
        return {"samples": 0}
    lives = {life: [s for s in samples if s.life == life] for life in {s.life for s in samples}}
    longest = max(lives.values(), key=lambda life: life[-1].answered - life[0].answered)
    first, last = longest[0].answered, longest[-1].answered
    warm = [s for s in longest if 2 * s.answered >= first + last]
    found = {
        "samples": len(samples),
        "lives": len(lives),
        "at_instances": milestones,
        "most_mb": round(max(s.rss_mb for s in samples), 1),
        "longest_life": {
            "instances": last - first,
            "samples": len(longest),
            "half_way_mb": round(warm[0].rss_mb, 1),
            "last_mb": round(warm[-1].rss_mb, 1),
            "most_mb": round(max(s.rss_mb for s in longest), 1),
            "threads": _ends(warm, "threads"),
            "files": _ends(warm, "files"),
        },
    }
    curve = {(s.answered - first) // CURVE_EVERY: s for s in reversed(longest)}
    found["longest_life"]["curve_mb"] = {
        s.answered - first: round(s.rss_mb, 1) for s in sorted(curve.values(), key=lambda s: s.answered)
    }
    answered = np.array([s.answered for s in warm], float)
    if len(warm) >= 10 and np.ptp(answered):
        rss = np.array([s.rss_mb for s in warm])
        slope, start = np.polyfit(answered, rss, 1)
        scatter = np.sqrt(np.sum((rss - slope * answered - start) ** 2) / (len(rss) - 2))
        error = scatter / np.sqrt(np.sum((answered - answered.mean()) ** 2))
        found["longest_life"] |= {
            "slope_mb_per_1000": round(1000 * float(slope), 2),
            "slope_error_mb": round(1000 * float(error), 2),
        }
    return found


def _ends(samples, name):
    """The upper quartile over the first and the last fifth of a life, and the most."""
    values = [getattr(sample, name) for sample in samples]
    part = max(1, len(values) // 5)
    return {
        "first": float(np.percentile(values[:part], 75)),
        "last": float(np.percentile(values[-part:], 75)),
        "most": max(values),
    }


def growth(found):
    """Sentences about what grew in the longest life; none for a life that is too short to tell."""
    life = found["memory"].get("longest_life", {})
    if life.get("instances", 0) < JUDGED:
        return
    if life["slope_mb_per_1000"] > FLAT_MB:
        yield f"memory grows by {life['slope_mb_per_1000']} MB for 1,000 instances"
    for name, most in FLAT_MOST.items():
        if life[name]["last"] - life[name]["first"] > most:
            yield f"{name} grow from {life[name]['first']} to {life[name]['last']}"
