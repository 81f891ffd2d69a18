"""`blind`: what the text of a question alone is worth, without its image."""

from __future__ import annotations

from medrega_bench.cli.options import DataOption, ResultOption, SplitOption
from medrega_edge.cli.console import print_result
from medrega_edge.i18n.message import Message


def blind(data: DataOption, out: ResultOption, split: SplitOption = "test") -> None:
    """Measure what question text alone gets right.

    A classifier learns the training questions without their images. Its settings are chosen on the val split. A lookup of
    the training questions stands beside it.

    medrega bench blind --data DATA --out blind.json
    """
    from medrega_bench import result_files
    from medrega_bench.evaluation.question_only_baseline import CHOSEN, BlindResult, figures, trials
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.io.atomic import check_output_path

    check_output_path(out)
    train, val, tested = (list(read_records(data, name)) for name in ("train", "val", split))
    tried = trials(train, val)
    best = {language.value: next(t for t in tried if t.language == language) for language in CHOSEN}
    result = BlindResult(
        command=command(),
        split=split,
        environment=environment(),
        chosen_on_val=best,
        trials_on_val=tried,
        figures=tuple(figures(train, tested)),
    )
    result_files.write(out, result)
    for language, trial in best.items():
        unit, longest, c, right = trial.unit, trial.longest, trial.c, trial.right
        print_result(Message("bench.baseline_chosen", language=language, unit=unit, longest=longest, c=c, right=right))
