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
    # ---- reports -----------------------------------------------------------------------------------------------------
    #
    # ---- cli ---------------------------------------------------------------------------------------------------------
    #
    "bench.cold_start": "cold: {time:.0f} ms, {peak:.0f} MiB",
    "bench.different_answers": "{count} answers differ in their bytes",
    "bench.package_written": "{size:.0f} MiB in {folder}",
    "bench.peak_memory": "{shape}: {times:.2f} times the package at its peak",
    "bench.peer": "  {name:<22}decode {decode:7.1f} tokens/s (we are {decode_ratio:.2f} times as fast), prefill "
    "{prefill:7.0f} ({prefill_ratio:.2f})",
    "bench.peers_at_shape": "{shape}, head of {bits} bits, memory read at {bandwidth:.0f} GB/s",
    "bench.stage_times": "{threads} threads: vision {vision:.1f} ms, first token {first:.1f} ms after the first question, "
    "{next:.1f} ms after the next, {tokens:.0f} tokens/s, {questions:.1f} questions/s",
    "bench.threads_unreadable": "'{threads}' is no list of thread numbers; write for example 1,2.",
    "bench.variant": "{name:<26}{seconds:8.3f} s  {gain:5.2f} times  error {error:.4f}",
}
