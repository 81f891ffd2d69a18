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
    "export.running": "The same export is already running; wait for it, or stop it.",
    #
    # ---- cli ---------------------------------------------------------------------------------------------------------
    #
}
