"""The English messages of medrega_bench: code -> template. `medrega_edge/i18n/templates.py` says how to write one."""

TEMPLATES: dict[str, str] = {
    # ---- datasets ----------------------------------------------------------------------------------------------------
    #
    "bench.empty_split": "There is no question in the split '{split}'; choose train, val or test.",
    "bench.in_file": "'{file}': {problem}",
    "bench.samples": "samples",
    # ---- evaluation --------------------------------------------------------------------------------------------------
    #
    "bench.answers": "answers",
    "bench.nothing_in_common": "The two results have no question in common; measure both on the same data.",
    "bench.two_truths": "A question has two truths in the two results; measure both on the same data.",
    # ---- metrics -----------------------------------------------------------------------------------------------------
    #
    "bench.confidences": "{place} has {confidences} confidences for {boxes} boxes that can be read; give one for each.",
    # ---- performance -------------------------------------------------------------------------------------------------
    #
    "bench.cold_start_failed": "the process of a cold start ended with code {exit_code}",
    "bench.folder_exists": "'{folder}' exists already; name a folder that does not.",
    "bench.loading_peer": "{shape}: loading {peer}",
    "bench.measurement_failed": "The measurement failed ({problem}); repeat it with nothing else running.",
    "bench.measuring": "measuring",
    "bench.measuring_shape": "{shape}: measuring",
    "bench.no_extra": "This needs an extra that is not installed; install it with: pip install 'medrega-edge[{extra}]'.",
    "bench.no_reason": "it gave no reason",
    "bench.no_shape": "There is no shape '{shape}'; choose one of: {shapes}.",
    "bench.peer_ended": "ended with code {exit_code}: {problem}",
    "bench.peer_missing": "{peer} is not measured: {problem}",
    "bench.peer_not_installed": "could not be installed: {problem}",
    "bench.profiling": "profiling",
    "bench.result_unreadable": "'{file}' is no result that this version can read: '{field}' is wrong; make it again.",
    "bench.worker_killed": "the measuring process was ended, most likely because memory ran out",
    "bench.writing_variants": "writing the variants",
    "bench.writing_weights": "{shape}: writing weights",
    # ---- sweep -------------------------------------------------------------------------------------------------------
    #
    "bench.asking": "asking {precision}",
    "bench.building": "building {precision}",
    "bench.no_calibration": "There is no file to calibrate on at the path given with --calibration; check the path.",
    "bench.no_checkpoint": "'{folder}' is no checkpoint: it has no config.json; name a folder that has one.",
    "bench.not_built": "{precision}: not built. {problem}",
    "bench.sweep_empty": "The sweep has no point to draw; make it again with `medrega bench sweep`.",
    "bench.timing": "timing {precision}",
    # ---- reports -----------------------------------------------------------------------------------------------------
    #
    # ---- cli ---------------------------------------------------------------------------------------------------------
    #
    "bench.baseline_chosen": "{language}: {unit} 1 to {longest}, C {c}: {right:.3f} right on val",
    "bench.cold_start": "cold: {time:.0f} ms, {peak:.0f} MiB",
    "bench.compared": "{before} -> {after}: {count} questions, {flips} answers flipped",
    "bench.difference_format": "The difference is written as .json, .md or .html; name the file so.",
    "bench.different_answers": "{count} answers differ in their bytes",
    "bench.documents_current": "up to date",
    "bench.documents_updated": "updated {documents}",
    "bench.dominated": "{point}, dominated by {others}",
    "bench.gate_missed": "The result does not pass; what it misses is listed.",
    "bench.gate_passed": "passes",
    "bench.grammar_hole": "Random weights wrote what cannot be read, so the grammar has a hole; report it with the results.",
    "bench.is_reference": "the reference",
    "bench.left_out": "{count:>8}  left out: {reason} (first: {place})",
    "bench.loss": "  {task}, {language}: {figure} {reference:.3f} -> {package:.3f}, loss {loss:+.4f} ({low:+.4f} to "
    "{high:+.4f}), {verdict}",
    "bench.macro_f1": "macro F1 {before:.1f}, corrected for label priors {after:.1f}, {count} questions",
    "bench.malformed": "{kind}: {malformed} malformed of {answers} ({boxes} boxes)",
    "bench.missed": "missed: {problem}",
    "bench.more_flips": "  and {count} more; --out lists them all",
    "bench.no_answers_folder": "The folder of --answers is not there; make it, or name another.",
    "bench.no_classification": "The split '{split}' has no question about one class; choose train, val or test.",
    "bench.no_keep_folder": "The folder of --keep is not there; make it, or name another.",
    "bench.no_prompts": "There is no file '{file}'; name the prompts.json of a checkpoint.",
    "bench.no_question_of_kind": "'{data}' gives no question of the kind that was asked for; choose another --setting or "
    "--split.",
    "bench.not_checked": "not checked: {problem}",
    "bench.not_significant": "not significant",
    "bench.only_in_first": "{count} questions are in the first result only and are not compared",
    "bench.only_in_second": "{count} questions are in the second result only and are not compared",
    "bench.other_settings": "{count} questions belong to other settings and are not scored here",
    "bench.overall_loss": "loss {loss:+.4f} ({low:+.4f} to {high:+.4f})",
    "bench.package_speed": "  {rate:.1f} questions/s on {device} with {threads} threads",
    "bench.package_written": "{size:.0f} MiB in {folder}",
    "bench.peak_memory": "{shape}: {times:.2f} times the package at its peak",
    "bench.peer": "  {name:<22}decode {decode:7.1f} tokens/s (we are {decode_ratio:.2f} times as fast), prefill "
    "{prefill:7.0f} ({prefill_ratio:.2f})",
    "bench.peers_at_shape": "{shape}, head of {bits} bits, memory read at {bandwidth:.0f} GB/s",
    "bench.point": "{number} {precision}: {size:.1f} MiB, {loss}, {rate:.1f} answers/s",
    "bench.priors_useless": "nothing was written: it does not help",
    "bench.priors_written": "label priors of {count} label sets written to {file}; export it again",
    "bench.report_written": "report in {folder}",
    "bench.scored": "{setting}: {items} items of {images} images",
    "bench.significant": "significant",
    "bench.stage_times": "{threads} threads: vision {vision:.1f} ms, first token {first:.1f} ms after the first question, "
    "{next:.1f} ms after the next, {tokens:.0f} tokens/s, {questions:.1f} questions/s",
    "bench.tasks_measured": "{count} questions; figures in {file}",
    "bench.threads_unreadable": "'{threads}' is no list of thread numbers; write for example 1,2.",
    "bench.variant": "{name:<26}{seconds:8.3f} s  {gain:5.2f} times  error {error:.4f}",
    "bench.warning": "warning: {problem}",
}
