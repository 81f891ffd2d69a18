"""The English messages of medrega_edge: code -> template.

A code is `<area>.<what>`; the area is the section's. A message is one sentence: what is wrong, where, and what to do next.
No message holds pixels or header values of a patient, nor the name of an image or of a file of answers: people put names
of patients there. Put a new template into the section of the folder that uses it, sorted by code.
"""

TEMPLATES: dict[str, str] = {
    # ---- usage, prompts, tasks, vocabulary -----------------------------------------------------------------------------
    #
    "task.no_tokens": "An answer needs at least 1 token, and max_tokens is {max_tokens}.",
    "task.several_without_labels": "Several labels (--several) go with the task 'classify', not with '{task}'.",
    # ---- images (image.*) ----------------------------------------------------------------------------------------------
    #
    # ---- images/dicom (dicom.*) ----------------------------------------------------------------------------------------
    #
    # ---- package (package.*) -------------------------------------------------------------------------------------------
    #
    "package.duplicate_key": "{file} has the key '{key}' twice; get the package again.",
    "package.empty_name": "The name of the model package is empty; name a package or its folder with --model.",
    "package.extra_file": "'{file}' does not belong to the model package; remove it or get the package again.",
    "package.file_changed": "'{file}' in the model package is not the file that the manifest names; get the package again.",
    "package.info_certificate": "certificate",
    "package.info_certificate_short": "certificate (--certificate shows all of it)",
    "package.info_languages": "languages   {languages}",
    "package.info_manifest": "manifest    {sha256}",
    "package.info_memory": "memory      about {megabytes:.0f} MB at its peak",
    "package.info_modalities": "modalities  {modalities}",
    "package.info_name": "name        {name}",
    "package.info_precision": "precision   {precision}",
    "package.info_size": "size        {megabytes:.1f} MB",
    "package.info_source": "source      {source}",
    "package.info_tasks": "tasks       {tasks}",
    "package.info_threads": "threads     {used} of {available} for the language model",
    "package.info_version": "version     {version}",
    "package.missing_file": "'{file}' is missing from the model package; get the package again.",
    "package.missing_key": "{file} lacks the key '{key}'; get the package again.",
    "package.missing_role": "The manifest of the model package lacks the file '{role}'; get the package again.",
    "package.newer_schema": "The model package has schema {version}, this program reads up to {known}; update medrega-edge.",
    "package.no_manifest": "'{folder}' is no model package: it has no readable {file}; name a package folder with --model.",
    "package.not_a_plain_file": "'{file}' in the model package is a link or a device; it must be a plain file.",
    "package.not_found": "There is no model package '{name}'; `medrega model list` shows those that are there.",
    "package.not_json": "{file} is not a valid JSON object; get the package again.",
    "package.not_text": "'{role}' of the model package is not UTF-8 text; get the package again.",
    "package.other_tasks": "The prefixes and templates in {file} differ in tasks or languages; get the package again.",
    "package.outside_folder": "The manifest names '{role}' outside the package folder; get the package again.",
    "package.unknown_key": "{file} has the unknown key '{key}'; update medrega-edge or get the package again.",
    "package.unknown_role": "The manifest of the model package has the unknown file role '{role}'; update medrega-edge, "
    "or get the package again.",
    "package.unknown_schema": "{file} has no schema_version that this program reads; get the package again.",
    "package.unusable": "{folder}  cannot be used: {problem}",
    "package.verified": "{name} {version}: every file is the one that the manifest names",
    "package.wrong_slots": "'{key}' in {file} has the slot {slot} too often or not at all; get the package again.",
    "package.wrong_value": "{file} has a wrong value for '{key}'; get the package again.",
    # ---- io (io.*) -----------------------------------------------------------------------------------------------------
    #
    "io.empty_file": "The file of {items} is empty; give it one JSON object a line.",
    "io.line_duplicate_key": "Line {line} has the key '{key}' twice; keep one.",
    "io.line_half_character": "Line {line} holds half a character.",
    "io.line_not_json": "Line {line} is not valid JSON.",
    "io.line_not_object": "Line {line} is no JSON object.",
    "io.no_file": "There is no file of {items} at the path given; check the path.",
    "io.no_output_folder": "The folder of the file to write is not there; make it, or name another place.",
    "io.no_space": "There is no room to write the output ({reason}); make room and ask again.",
    "io.not_a_plain_file": "The file to write is a folder, a link or a device; name a plain file.",
    "io.not_jsonl": "The file of {items} cannot be read as UTF-8 text; name a JSONL file.",
    "io.output_is_input": "The file to write is one that this command reads, and is not overwritten; name another.",
    "io.unreadable_folder": "A folder in it cannot be read ({reason}); make it readable, or name another.",
    "io.unwritable": "The output cannot be written ({reason}); name another place for it.",
    # ---- batch (batch.*) -----------------------------------------------------------------------------------------------
    #
    "batch.answered_row": "{id}: answered",
    "batch.busy": "Another medrega is writing to this place; wait until it has ended, or name another.",
    "batch.failed": "failed: {problem}",
    "batch.failed_more": "failed: {count} more, each with its error in the answers",
    "batch.failed_row": "failed: {id}: {problem}",
    "batch.finished": "{answered} answered, {failed} failed",
    "batch.image_memory": "There is not enough memory for this image; downscale it.",
    "batch.line_box": "Line {line} needs four numbers as box.",
    "batch.line_labels": "Line {line} needs a list of texts, or the name of a label set, as labels.",
    "batch.line_lang": "Line {line} has the key 'lang'; it is called 'language'.",
    "batch.line_missing_key": "Line {line} lacks the key '{key}'.",
    "batch.line_text": "Line {line} needs text as {key}.",
    "batch.line_true_or_false": "Line {line} needs true or false as {key}.",
    "batch.line_unknown_key": "Line {line} has the unknown key '{key}'; correct or remove it.",
    "batch.line_whole_number": "Line {line} needs a whole number as {key}.",
    "batch.no_image": "There is no image in the folder; name one that holds images.",
    "batch.no_question": 'Say what to ask about every image, for example: --question "locate the liver".',
    "batch.no_watch_folder": "The folder to watch is not there; make it, or name another.",
    "batch.one_output": "The answers and the CSV cannot be one file; name two.",
    "batch.other_answers": "The folder of answers holds those to another question or model; name another --out.",
    "batch.other_job": "Beside the answers lies unfinished work on other questions, images or options (it ends in .part); "
    "delete it to begin anew, or name another --out.",
    "batch.output_inside": "The answers would be in the folder that is read; name a place outside of it.",
    "batch.process_ended": "A process of the batch ended by itself, most likely for want of memory; "
    "ask again with --threads 1.",
    "batch.question_and_file": "The file of questions says what is asked; --question and its like go with a folder.",
    "batch.questions": "questions",
    "batch.resumed": "resumed after the first {done} of {total}",
    "batch.series": "series {number}: {note}",
    "batch.watching": "watching; interrupt to end",
    # ---- output (output.*) ---------------------------------------------------------------------------------------------
    #
    "output.all_modalities": "all",
    "output.certificate_accuracy": "share of right answers:",
    "output.certificate_flips": "answers that flipped: {wrong} to wrong, {right} to right",
    "output.certificate_hashes": "hashes:",
    "output.certificate_iou": "IoU:",
    "output.certificate_items": "{count} questions, full precision beside this package (items {sha256})",
    "output.certificate_limit": "  (at most {limit:g})",
    "output.certificate_loss": "{loss:+.3f} ({low:+.3f} to {high:+.3f})",
    "output.certificate_override": "more exact than the rest: {unit}, {bits} bits",
    "output.certificate_stages": "error of each stage:",
    "output.certificate_unmeasured": "accuracy beside full precision: not measured, {reason}",
    "output.certificate_worst": "items that lost most, each by the SHA-256 of its line in the file of questions:",
    "output.column_count": "n",
    "output.column_flipped": "flipped",
    "output.column_full": "full",
    "output.column_language": "lang",
    "output.column_loss": "loss (95 %)",
    "output.column_modality": "kind",
    "output.column_package": "package",
    "output.column_task": "task",
    # ---- inference and resources (inference.*, resource.*) -------------------------------------------------------------
    #
    # ---- offline_bundle (bundle.*) -------------------------------------------------------------------------------------
    #
    "bundle.answers_verified": "{count} questions: this machine gives the answers of the bundle",
    "bundle.created": "{megabytes:.1f} MB; its README.txt says how to install it",
    "bundle.damaged": "The file is no bundle of medrega, or is damaged; get it again.",
    "bundle.damaged_wheel": "A wheel in the folder is damaged; download it again.",
    "bundle.file_changed": "'{file}' in the bundle is not the file that the bundle lists; get the bundle again.",
    "bundle.files_verified": "{count} files: every file is the one that the bundle lists",
    "bundle.foreign_contents": "The list of the bundle's files is not one of ours; get the bundle again.",
    "bundle.installation_verified": "{count} packages and the model: the installed ones are those of the bundle",
    "bundle.missing_wheels": "The folder lacks wheels of: {names}; fill it with: pip download {name} -d FOLDER.",
    "bundle.newer": "The bundle was written by a newer program; use the medrega-edge that is in it.",
    "bundle.no_file": "There is no file at the path given for the bundle; check the path.",
    "bundle.no_own_wheel": "The folder holds no wheel of {name} {version}; build or download it, and what it needs.",
    "bundle.no_wheel_folder": "The folder of wheels is not there; fill one with: pip download medrega-edge -d FOLDER.",
    "bundle.not_installed": "The bundle has {name} {version}, which is not installed; install it as its README.txt says.",
    "bundle.other_answer": "This machine answers question {number} of the self-test otherwise than the bundle; report it.",
    "bundle.other_files": "The bundle holds other files than it lists; get it again.",
    "bundle.other_package": "The model package in use is not the bundle's; name that with --model, as its README.txt says.",
    "bundle.other_questions": "The self-test has other questions than this program asks; install the bundle's own wheels.",
    "bundle.other_version": "The bundle has {name} {version}, installed is {installed}; install it as its README.txt says.",
    "bundle.two_versions": "The folder holds two versions of {name}; keep the one that is meant.",
    # ---- cli (cli.*) ---------------------------------------------------------------------------------------------------
    #
    "cli.error": "error: {problem}",
    "cli.missing_extra": "`medrega {command}` needs the extra '{extra}', of which {missing} is not installed; "
    "install it with: {install}.",
    "cli.no_chinese": "The Chinese texts are not installed: messages are in English; install medrega-edge again.",
    # ---- evaluation (evaluation.*) -------------------------------------------------------------------------------------
    #
    # ---- internal (internal.*) -----------------------------------------------------------------------------------------
    #
    "internal.fault": "The program itself failed ({type} at {place}); that is a fault of ours: report it.",
    "legacy.sentence": "{text}",
}
