"""Results by date and commit -> how accuracy and speed went from one to the next."""

from __future__ import annotations

from medrega_bench.evaluation import paired
from medrega_bench.evaluation.results import PackageResult, RunResult
from medrega_bench.performance.quietness import told
from medrega_bench.reports.percentages import percent, signed


def history_table(*results: RunResult) -> str:
    """One line a result, the newest first; each beside its change from the one before it on the same questions."""
    lines = [
        "| measured | commit | data | package | overall (95 %) | change (95 %) | questions/s | read bandwidth, GB/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before: dict[str, PackageResult] = {}
    made = []
    for result in sorted(results, key=lambda result: result.measured):
        package, data = result.package, result.data
        change = _change(before.get(data.name), package)
        before[data.name] = package
        limit = result.read_bandwidth_gb_per_second
        cells = (
            result.measured[:10],
            result.commit or "",
            f"{data.name}, {data.questions} questions",
            f"{package.title}, {package.model.sha256[:8]}",
            percent(package.overall),
            change,
            _rates(package) + (", disturbed" if told(result.quietness) else ""),
            "" if limit is None else f"{limit:.1f}",
        )
        made.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *reversed(made)])


def _change(before: PackageResult | None, after: PackageResult) -> str:
    """The gain over the questions that both were asked, nothing where there is no question in common."""
    if before is None or not {row.id for row in before.rows} & {row.id for row in after.rows}:
        return ""
    loss = paired.overall_loss(paired.pair_up(before.rows, after.rows))
    low, high = loss.interval
    text = signed(0.0 - loss.value, (0.0 - high, 0.0 - low))  # a minus alone would make -0.0 of no change
    return text if low <= 0 <= high else f"**{text}**"


def _rates(package: PackageResult) -> str:
    return "; ".join(
        f"{stage.questions_per_second.median:.1f} ({stage.device}, {stage.threads} threads)" for stage in package.speed
    )
