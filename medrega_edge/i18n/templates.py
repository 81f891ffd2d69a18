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
