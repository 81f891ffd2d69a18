"""The English messages of medrega_export: code -> template. `medrega_edge/i18n/templates.py` says how to write one."""

TEMPLATES: dict[str, str] = {
    # ---- checkpoint -----------------------------------------------------------------------------------------------
    "export.adapter_adds_layers": "so the model gets further layers",
    "export.adapter_changes_base": "which changes the base weights too",
    "export.adapter_depends_on_prompt": "so it acts on some prompts only",
    "export.adapter_feature": "The adapter '{adapter}' sets {key} to {value}, {reason}; merge it with peft "
    "(merge_and_unload, then save_pretrained) and export the result.",
    "export.adapter_half_missing": "'{tensor}' of {source} lacks its other half; get the adapter again.",
    "export.adapter_in_checkpoint": "The checkpoint '{checkpoint}' holds an {file} beside its own weights, and either may "
    "be meant; move the adapter into a folder of its own and name that with --adapter.",
    "export.adapter_is_no_product": "so what it adds is no product of two matrices",
    "export.adapter_key_unknown": "a key that is not known here",
    "export.adapter_module_missing": "The adapter '{adapter}' was trained with modules_to_save '{module}' and lacks its "
    "weights; get the adapter again.",
    "export.adapter_of_megatron": "so its layers are those of Megatron",
    "export.adapter_rank": "'{module}' of {source} has the rank {rank}, and its configuration says {expected}; get both "
    "again.",
    "export.adapter_shape": "'{tensor}' of {source} does not have the shape of the checkpoint's layer; take the adapter's "
    "own base.",
    "export.adapter_targets_parameters": "so it corrects parameters outside linear layers",
    "export.adapter_tensor_kind": "'{tensor}' of {source} is not plain LoRA of a linear layer; merge it with peft "
    "(merge_and_unload, then save_pretrained) and export the result.",
    "export.adapter_tensor_unknown": "'{tensor}' of {source} belongs to no layer of the checkpoint; take the adapter's "
    "own base.",
    "export.adapter_tied": "'{tensor}' of the adapter '{adapter}' changes the output head or the token embeddings, which "
    "are one matrix in the checkpoint; merge it with peft (merge_and_unload, then save_pretrained) and export the result.",
    "export.adapter_ties": "so it ties the layers that it adapts",
    "export.adapter_trains_biases": "so biases were trained",
    "export.adapter_trains_rows": "so rows of the token embeddings were trained",
    "export.adapter_type": "The adapter '{adapter}' is of type '{type}'; only LORA can be merged here, so merge it with "
    "peft and export the result.",
    "export.adapter_unmergeable": "The adapter '{adapter}' sets {key} to {value}, {reason} and cannot become part of the "
    "weights; train it as plain LoRA.",
    "export.adapter_unreadable": "The adapter '{adapter}' has no readable {file}; get the adapter again.",
    "export.adapter_untargeted": "The adapter '{adapter}' holds tensors for '{module}', which {file} does not name among "
    "the layers to adapt; get both files again.",
    "export.adapter_value": "{key} in the configuration of the adapter '{adapter}' is {value}; correct it.",
    "export.adapter_without_base": "'{folder}' is a LoRA adapter; name its base checkpoint, and the adapter with --adapter.",
    "export.adapter_without_weights": "The adapter '{adapter}' has no {file}; other weight files are not read, so save the "
    "adapter again as safetensors.",
    "export.added_token_contradicted": "The files of the tokenizer disagree about the added token '{token}': its id is {id} "
    "beside tokenizer.json and another in it; get the tokenizer's files again.",
    "export.added_token_gap": "The added token '{token}' has the id {id}, which leaves a gap before it; add a "
    "tokenizer.json.",
    "export.added_token_renumbered": "The added token '{token}' does not get its id {id}; add a tokenizer.json.",
    "export.added_tokens_unreadable": "The added tokens in tokenizer_config.json or added_tokens.json cannot be read; get "
    "the tokenizer's files again.",
    "export.already_quantised": "The weights of the checkpoint are quantised already; export the weights that they were "
    "made from.",
    "export.chat_template_unknown": "The chat template of the checkpoint is '{template}'; these are known: {known}.",
    "export.config_key_missing": "config.json of the checkpoint lacks '{key}'; get the checkpoint again.",
    "export.config_unusable": "config.json of the checkpoint cannot be used ({problem}); get the checkpoint again.",
    "export.end_token_invalid": "The eos_token_id of the checkpoint is {value}; it has to be one or several numbers of its "
    "tokens.",
    "export.file_not_json": "{file} of the checkpoint is not valid JSON ({problem}); get the checkpoint again.",
    "export.generation_not_followed": "generation_config.json sets {keys}, which the runtime does not follow: it always "
    "takes the likeliest token, so answers may differ from transformers'",
    "export.has_own_prompts": "The checkpoint '{checkpoint}' brings its own prompts.json; leave --prompts out.",
    "export.image_processor": "{file} sets {key} to {value}, and the runtime only does {expected}: the model would see "
    "other images than in training; export a checkpoint that was trained so.",
    "export.image_processor_unknown": "{file} names the image processor '{type}', and the runtime only does what '{known}' "
    "does; export a checkpoint that was trained with that.",
    "export.image_token_differs": "config.json names another image token than the tokenizer's {token}; correct it.",
    "export.index_contradicted": "{index} says that '{tensor}' is in '{file}', and it is not; get the checkpoint again.",
    "export.index_without_files": "{index} of the checkpoint names no weight file; get it again.",
    "export.language_model_unsupported": "The language model of the checkpoint is '{type}'; these can be exported: "
    "{supported}.",
    "export.metadata_missing": "The checkpoint '{checkpoint}' has no {missing}; it has to lie beside {present}.",
    "export.no_config": "The checkpoint '{checkpoint}' has no config.json; name the folder that holds it.",
    "export.no_end_token": "The checkpoint names no eos_token_id; set it in its config.json.",
    "export.no_samples": "'{file}' holds no sample; give it one conversation a line.",
    "export.no_template": "prompts.json has no template for '{task}' in '{language}', which training.json names; correct "
    "either.",
    "export.no_tokenizer": "The checkpoint '{checkpoint}' has no tokenizer.json and no tokenizer.model; get it again.",
    "export.mask_head_does_not_fit": "{file} of the checkpoint is no mask head: {mismatch}; write it again "
    "with python -m tools.mask_head.",
    "export.no_weights": "The checkpoint '{checkpoint}' has none of these files: {files}; other weight files are not read, "
    "so get these.",
    "export.not_a_conversation": "Line {line} of '{file}' is no conversation about one {mark}; correct it.",
    "export.not_square": "The vision tower of the checkpoint sees {size} pixels; only squares can be exported.",
    "export.padded_images": "The checkpoint was trained on images padded to a square (pad2square); the runtime stretches "
    "images, so this cannot be exported.",
    "export.pixel_shuffle_unknown": "The ps_version of the checkpoint is '{version}'; these are known: {known}.",
    "export.prompts_not_given": "Its own prompts were not given (--prompts): it is asked in words of ours, which it was "
    "not trained with",
    "export.prompts_unusable": "The prompts of the checkpoint cannot be used: {problem}",
    "export.qk_norm_epsilon": "The layer_norm_eps of the tower is {value}; with QK norm only 1e-6 can be exported.",
    "export.region_head_does_not_fit": "The region head of the checkpoint does not fit its config.json: {mismatch}; get the "
    "checkpoint again.",
    "export.region_head_half": "The checkpoint '{checkpoint}' has {present} and lacks {missing}; a region head needs both.",
    "export.region_head_without_maps": "The checkpoint has a region head, and its tower '{type}' has no maps for one; take "
    "region_head.safetensors away.",
    "export.registry_unreadable": "'{file}' is no registry of data sets with their base_prompt; name the one that was "
    "published.",
    "export.samples_unreadable": "'{file}' cannot be read; name a JSONL file of conversations.",
    "export.select_layer": "select_layer is {selected}, but the tower has {layers} layers; correct the config.json.",
    "export.several_wordings": "'{task}' in '{language}' was published in {count} wordings; one of them is used",
    "export.the_checkpoint": "the checkpoint",
    "export.tensor_twice": "'{tensor}' is in two files of weights, {files}, and either may be meant; get the checkpoint "
    "again into an empty folder.",
    "export.token_missing": "The tokenizer has no token '{token}', which images, answers or boxes are written with; export "
    "weights that were trained with it.",
    "export.tokenizer_differs": "tokenizer.model splits {text} differently from its conversion; add a tokenizer.json.",
    "export.tokenizer_kind": "tokenizer.model is no byte-pair model of the usual kind; write a tokenizer.json beside it.",
    "export.tokenizer_model_unreadable": "tokenizer.model is no SentencePiece model; get the checkpoint again.",
    "export.tokenizer_too_large": "The tokenizer has {tokens} tokens and the language model only {rows}; these files do "
    "not belong together.",
    "export.tokenizer_unreadable": "tokenizer.json of the checkpoint cannot be read; get the checkpoint again.",
    "export.tower_features": "The checkpoint takes the features '{strategy}' of layer {layer} of its tower; only 'full' and "
    "-1 can be exported.",
    "export.tower_grid": "A tower of {size} pixels cannot have a grid of {grid} x {grid} places; the pixels have to "
    "divide by 32, and an eighth of them by the grid.",
    "export.tower_resized": "The tower was made for {size} px and is used at {used} px; this cannot be exported.",
    "export.tower_variant_unknown": "The tower of the checkpoint is EfficientNet '{variant}'; these can be exported: "
    "{known}.",
    "export.tower_width": "hidden_size of the vision_config is {width}, and the maps of the tower have {expected} channels; "
    "correct it.",
    "export.trained_on_tiles": "The checkpoint was trained on several tiles of an image; the runtime shows it one, and "
    "loses detail",
    "export.training_not_a_share": "'{key}' in training.json is {value}; it has to lie between 0 and 1.",
    "export.training_not_text": "name, version, source and card in training.json have to be text; correct it.",
    "export.training_unusable": "training.json of the checkpoint cannot be used ({problem}); correct it.",
    "export.training_value_missing": "'{key}' in training.json is empty; choose from: {known}.",
    "export.training_value_unknown": "'{key}' in training.json holds the unknown value '{value}'; these are known: {known}.",
    "export.type_unsupported": "The checkpoint is of type '{type}'; these can be exported: {supported}.",
    "export.weight_files_missing": "The checkpoint '{checkpoint}' lacks {count} of its weight files, the first is "
    "'{first}'; get them too.",
    "export.weight_files_unread": "These files are beside the weights and are not read, because nothing names them: {files}",
    "export.weight_named_twice": "'{first}' and '{second}' are two names of one weight, and either may be meant; get the "
    "files again.",
    "export.weights_coded": "{count} weights are no floating-point numbers, the first is '{first}' ({type})",
    "export.weights_distributed": "The weights of the checkpoint '{checkpoint}' were saved in parts by several processes "
    "(shard-...); save them again with save_pretrained in one process.",
    "export.weights_do_not_fit": "The weights of the checkpoint do not fit its config.json: {mismatch}; get the checkpoint "
    "again.",
    "export.weights_missing": "{count} weights are missing, the first is '{first}'",
    "export.weights_not_safetensors": "{source} names '{file}' as a file of weights; only safetensors are read, so convert "
    "it.",
    "export.weights_outside": "{source} names '{file}', which is not inside the checkpoint's folder; put the file there.",
    "export.weights_reshaped": "{count} weights have another shape, the first is '{first}'",
    "export.weights_unknown": "{count} weights are unknown to the model, the first is '{first}'",
    "export.weights_unreadable": "The weights in '{file}' cannot be read ({problem}); get the file again.",
    # ---- quantisation ---------------------------------------------------------------------------------------------
    "export.bits_unsupported": "{option} {bits} is not possible; choose 4, 8, or 32 for full precision.",
    "export.codes_in_gigabytes": "{size:.3g} GB of codes",
    "export.codes_in_megabytes": "{size:.3g} MB of codes",
    "export.gptq_bits": "The GPTQ checkpoint has {bits} bits in groups of {group}; 4 or 8 bits in groups of 32, 64 or 128 "
    "can be read.",
    "export.gptq_format_unknown": "The GPTQ checkpoint is written as '{format}'; gptq and gptq_v2 can be read.",
    "export.gptq_layer_left_out": "The GPTQ checkpoint leaves '{pattern}' unquantised; quantise all linear layers.",
    "export.gptq_reordered": "'{layer}' of the GPTQ checkpoint has its rows reordered (desc_act); quantise with desc_act "
    "off.",
    "export.gptq_tensor_missing": "The GPTQ checkpoint lacks '{tensor}'; quantise the checkpoint again.",
    "export.gptq_zero_points": "'{layer}' is marked symmetric but its zero points are not {middle}; the checkpoint is "
    "damaged, quantise it again.",
    "export.gptqmodel_version": "Quantisation is written for gptqmodel {needed}, and {installed} is installed; install "
    "{needed}.",
    "export.group_from_memory": "{codes} are read from memory for every token, and so come the fewest scales with them",
    "export.group_in_cache": "{codes} stay in a processor's cache, and the smallest groups lose least",
    "export.group_indivisible": "{codes} are read from memory for every token, but '{layer}' has rows of {width}, which "
    "are no groups of {group}",
    "export.group_size_unsupported": "--group-size {value} is not possible; choose 32, 64, 128 or auto.",
    "export.max_size_too_small": "A package of this recipe takes about {size:.1f} MB, more than {limit:.1f} MB; take "
    "--group-size 128, --head-bits 4 or a greater --max-size.",
    "export.no_calibration": "Quantisation needs questions to calibrate on; name a JSONL file with --calibration.",
    "export.not_a_recipe": "This is no recipe ({problem}); write one with --explain.",
    "export.not_sensitivities": "'{file}' holds no sensitivities; write them with --explain.",
    "export.nothing_is_quantised": "In full precision nothing is quantised; leave --precision fp32 out.",
    "export.question_too_long": "Question '{question}' has {tokens} tokens with its answer; the context is {context}; "
    "leave it out.",
    "export.sensitivities_of_another_recipe": "'{file}' was measured for {measured}, not for {recipe}; write it anew with "
    "--explain.",
    "export.sensitivity_legend": "output, state: relative error of the unit's output and of its layer's hidden state; KL: "
    "nats a token",
    "export.sensitivity_needs_questions": "Sensitivity is measured on questions; name a JSONL file with --calibration.",
    "export.tower_needs_images": "An int8 tower of convolutions is calibrated on images; name questions with --calibration, "
    "or take --tower fp32.",
    "export.tower_unsupported": "--tower {tower} is not possible; choose int8, fp16 or fp32.",
    "export.unit_bits": "'{unit}' cannot have {bits} bits in groups of {group}; 4 or 8 bits in groups of 32, 64 or 128 are "
    "possible, in a quantised language model.",
    "export.unit_of_another_tower": "'{unit}' is no part of this checkpoint's tower; correct the recipe.",
    "export.unit_of_tower": "'{unit}' can only have 32 bits, in an int8 tower; correct the recipe.",
    "export.unit_twice": "The recipe names '{unit}' twice; name it once.",
    "export.unit_unknown": "'{unit}' is no part of a model that has a precision of its own; correct the recipe.",
    # ---- graphs ---------------------------------------------------------------------------------------------------
    "export.channels_unsupported": "The tower of the checkpoint sees {channels} channels; the runtime shows it 3, so this "
    "cannot be exported.",
    "export.class_token_unsupported": "The checkpoint feeds the class token to the language model; this cannot be exported.",
    "export.downsample_ratio": "downsample_ratio in config.json is {ratio}; it has to be 1, 1/2, 1/3 or so on: correct it.",
    "export.feature_layer": "vision_feature_layer in config.json is {layer}; one layer of the {layers} of the tower can be "
    "exported.",
    "export.grid_indivisible": "A grid of {side} x {side} patches does not divide by the pixel shuffle; this cannot be "
    "exported.",
    "export.head_indivisible": "The rows of the output head have {width} weights, which do not divide into groups of "
    "{group}.",
    "export.head_size_unsupported": "The attention heads of the language model have {size} channels; only multiples of "
    "{multiple} can be exported.",
    "export.language_layers_unsupported": "The language model uses sliding windows or another activation than SiLU; "
    "neither can be exported.",
    "export.layer_indivisible": "'{layer}' is {rows} x {width}, which does not divide into groups of {group}; {bits} bits "
    "are not possible.",
    "export.projector_activation_unsupported": "The activation of the projector is '{activation}'; only '{supported}' can "
    "be exported.",
    "export.rope_unsupported": "The rotary embedding of the language model is scaled by '{type}'; these can be exported: "
    "{supported}.",
    "export.stage_error": "The error of '{stage}' is {error:.4g}, more than {limit:.4g}; the package was not written.",
    "export.stage_not_a_number": "The error of '{stage}' is no number, so weights of the checkpoint are none, or become "
    "none; the package was not written.",
    "export.tower_activation_unsupported": "The activation of the tower is '{activation}'; these can be exported: "
    "{supported}.",
    "export.tower_positions_missing": "The tower has no position embeddings; this cannot be exported.",
    # ---- options and preflight ------------------------------------------------------------------------------------
    "export.adapter_is_merged": "{adapter}, is merged",
    "export.certify_full_precision": "A certificate compares with full precision, and this package is in full precision "
    "itself; leave --certify out.",
    "export.disk_short": "disk needs about {needed:.3g} GB and {free:.3g} GB are free",
    "export.efficientnet_shape": "EfficientNet {variant}, {size} px -> {tokens} tokens",
    "export.fact_adapter": "adapter",
    "export.fact_disk": "disk",
    "export.fact_export": "export",
    "export.fact_groups": "groups",
    "export.fact_language_model": "language model",
    "export.fact_layout": "layout",
    "export.fact_lora": "LoRA",
    "export.fact_memory": "memory",
    "export.fact_number_type": "stored as",
    "export.fact_package": "package",
    "export.fact_mask_head": "mask head",
    "export.fact_region_head": "region head",
    "export.fact_short": "short",
    "export.fact_tasks": "tasks",
    "export.fact_tokenizer": "tokenizer",
    "export.fact_tower": "tower",
    "export.fact_unsupported": "unsupported",
    "export.fact_warning": "warning",
    "export.fact_weights": "weights",
    "export.fact_with_option": "with {option}",
    "export.gate_without_certificate": "Gates are checked against the certificate; name its questions with --certify.",
    "export.group_size": "of {group}: {reason}",
    "export.keep_unquantised": "At 32 bits there is no quantised checkpoint to keep; leave --keep-checkpoint out.",
    "export.language_shape": "{type}, {layers} layers of {width}, {tokens} tokens",
    "export.layout_chat": "internvl_chat, the original layout",
    "export.layout_native": "{type}, native",
    "export.lora_is_merged": "lies unmerged in the checkpoint, and is merged",
    "export.losses_without_max_size": "--losses is for --max-size; name a size, or leave --losses out.",
    "export.memory_short": "memory needs about {needed:.3g} GB and {free:.3g} GB are free",
    "export.more_disk": "about {size:.3g} GB of disk more",
    "export.needed": "about {needed:.3g} GB ({steps})",
    "export.needed_and_free": "about {needed:.3g} GB, {free:.3g} GB free ({steps})",
    "export.no_calibration_items": "--calibration-items has to be 1 or more.",
    "export.no_checkpoint": "There is no checkpoint folder '{checkpoint}'; check the path.",
    "export.no_file": "There is no file '{file}' at the path given; check the path.",
    "export.no_new_folder": "No new folder can be made in '{folder}' ({reason}); name another place.",
    "export.path_not_utf8": "A path is not encoded in UTF-8, and safetensors and onnx cannot open it; name a folder in "
    "ASCII letters.",
    "export.prefill_unquantised": "--prefill-8bit is for a language model in 4 or 8 bits; leave it out.",
    "export.question_image": "The image of question '{question}' cannot be used: {problem}",
    "export.question_task_unknown": "Question '{question}' asks for '{task}', which the checkpoint does not know; leave it "
    "out.",
    "export.question_without_box": "Question '{question}' asks what is in a box and names none; give it a 'box'.",
    "export.question_without_labels": "Question '{question}' asks for one of several labels and names none; give it "
    "'labels'.",
    "export.runs_on_cpu": "runs on cpu; cuda would need onnxruntime-gpu, which is not installed here",
    "export.runs_on_cuda": "runs on cpu and cuda",
    "export.step_certificate": "certificate",
    "export.step_checks": "checks",
    "export.step_gptq": "GPTQ",
    "export.step_package": "package",
    "export.step_size": "{step} {size:.3g}",
    "export.step_work": "work",
    "export.target_exists": "'{target}' exists; choose another path, or replace it with --force.",
    "export.target_is_here": "The target is the root of the disk or the current folder; name a folder of its own.",
    "export.target_is_no_export": "'{target}' exists and is no earlier export; choose another path.",
    "export.targets_overlap": "One of --out and --keep-checkpoint lies in the other; name two folders beside each other.",
    "export.tokenizer_size": "{count} tokens",
    "export.tower_shape": "{layers} layers of {width}, {size} px -> {tokens} tokens, pixel shuffle {shuffle}",
    "export.weight_count": "{billions:.3g} billion",
    "export.where_it_runs": "calibrates, quantises and measures on the processor",
    # ---- pipeline and progress ------------------------------------------------------------------------------------
    "export.certificate_begins": "certificate",
    "export.certificate_progress": "certificate: {done} of {count} questions",
    "export.gate_missed": "{missed}; the package waits beside its place, in the folder '{folder}': the same command with "
    "another gate, or without, takes it from there; or delete that folder.",
    "export.group_size_chosen": "groups of {group}: {reason}",
    "export.no_unit_raised": "{recipe}: no unit gets more bits",
    "export.quantising": "gptq",
    "export.quantising_layer": "gptq: layer {layer} of {count}",
    "export.quantising_resumed": "gptq: {done} of {count} layers are finished; going on",
    "export.reading": "images and questions",
    "export.running": "The same export is already running; wait for it, or stop it.",
    "export.sensitivity_of_layer": "sensitivity: layer {layer} of {count}",
    "export.sensitivity_of_tower": "sensitivity: part {part} of {count} of the tower",
    "export.too_large": "the package takes {megabytes:.2f} MB, more than --max-size",
    "export.truth_outside": "The true answer to question '{question}' has a box outside the image; correct it.",
    "export.ungraded_reports": "certificate: {count} reports are left out, because nothing here can grade them",
    "export.units_raised": "{recipe}: more bits for {units}",
    "export.warning": "warning: {warning}",
    "export.writing_decoder": "decoder {precision}",
    "export.writing_prefill": "decoder for the prefix of an image, int8",
    "export.writing_vision": "vision {precision}",
    # ---- cli ------------------------------------------------------------------------------------------------------
    "export.cannot_be_exported": "The checkpoint '{checkpoint}' cannot be exported; the reasons are listed.",
    "export.explain_alone": "--explain exports nothing; leave --certify, --gate, --keep-checkpoint, --max-size and "
    "--losses out.",
    "export.no_target": "Name the folder of the package to write with --out, or only inspect the checkpoint with --check.",
    "export.short_of_resources": "This machine is short of memory or disk for the export; the amounts are listed.",
}
