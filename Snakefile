include: "workflow/Snakefile"


# Without this, a Snakefile that only includes another finds nothing to be done.
workflow.default_target = "all"
