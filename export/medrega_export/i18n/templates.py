"""The English messages of medrega_export: code -> template. `medrega_edge/i18n/templates.py` says how to write one."""

TEMPLATES: dict[str, str] = {
    # ---- checkpoint --------------------------------------------------------------------------------------------------
    #
    "export.prompts_unusable": "The prompts of the checkpoint cannot be used: {problem}",
    #
    # ---- quantisation ------------------------------------------------------------------------------------------------
    #
    # ---- graphs ------------------------------------------------------------------------------------------------------
    #
    # ---- pipeline, gates and resources -------------------------------------------------------------------------------
    #
    "export.gate_missed": "{missed}; the package waits beside its place, in the folder '{folder}': the same command with "
    "another gate, or without, takes it from there; or delete that folder.",
    "export.running": "The same export is already running; wait for it, or stop it.",
    "export.truth_outside": "The true answer to question '{question}' cannot be used: {problem}.",
    "export.too_large": "the package takes {megabytes:.2f} MB, more than --max-size",
    # ---- cli ---------------------------------------------------------------------------------------------------------
    #
}
