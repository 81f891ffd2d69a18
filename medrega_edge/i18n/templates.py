"""The English messages of medrega_edge: code -> template.

A code is `<area>.<what>`; the area is the section's. A message is one sentence: what is wrong, where, and what to do next.
No message holds pixels or header values of a patient, nor the name of an image or of a file of answers: people put names
of patients there. Put a new template into the section of the folder that uses it, sorted by code.
"""

TEMPLATES: dict[str, str] = {
    # ---- usage, prompts, tasks, vocabulary -----------------------------------------------------------------------------
    #
    # ---- images (image.*) ----------------------------------------------------------------------------------------------
    #
    # ---- images/dicom (dicom.*) ----------------------------------------------------------------------------------------
    #
    # ---- package (package.*) -------------------------------------------------------------------------------------------
    #
    "package.duplicate_key": "{file} has the key '{key}' twice; get the package again.",
    "package.extra_file": "'{file}' does not belong to the model package; remove it or get the package again.",
    "package.file_changed": "'{file}' in the model package is not the file that the manifest names; get the package again.",
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
    "package.wrong_slots": "'{key}' in {file} has the slot {slot} too often or not at all; get the package again.",
    "package.wrong_value": "{file} has a wrong value for '{key}'; get the package again.",
    # ---- io (io.*) -----------------------------------------------------------------------------------------------------
    #
    # ---- batch (batch.*) -----------------------------------------------------------------------------------------------
    #
    # ---- output (output.*) ---------------------------------------------------------------------------------------------
    #
    # ---- inference and resources (inference.*, resource.*) -------------------------------------------------------------
    #
    # ---- offline_bundle (bundle.*) -------------------------------------------------------------------------------------
    #
    # ---- cli (cli.*) ---------------------------------------------------------------------------------------------------
    #
    "cli.error": "error: {problem}",
    "cli.no_chinese": "The Chinese texts are not installed: messages are in English; install medrega-edge again.",
    # ---- evaluation (evaluation.*) -------------------------------------------------------------------------------------
    #
    # ---- internal (internal.*) -----------------------------------------------------------------------------------------
    #
    "internal.fault": "The program itself failed ({type} at {place}); that is a fault of ours: report it.",
    "legacy.sentence": "{text}",
}
