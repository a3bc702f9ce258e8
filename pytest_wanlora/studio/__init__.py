"""The DiffSynth pipeline of one process, and what renders and scores with it.

`pipeline` loads it and renders jobs, `apply_lora` puts LoRAs on and off, `acceleration` holds everything that
makes rendering faster than the stock call, `prompts` keeps prompt embeddings on the disk, `weights` reads a
model into a GPU's memory, `producer` adds the scorers and `previews`. torch and diffsynth are imported when a
model is loaded, not before.

    studio = Studio(suite, environment, device="cuda:0", cache_dir=Path(".wanlora/cache"))
    studio.render(job, checkpoint)             -> Rendered
    studio.render_many(jobs, checkpoint)       -> tuple[Rendered, ...], of one batch: `Job.block` is equal
    studio.lora(checkpoint, scale)             -> context manager, yields Applied
    studio.prepare()                           encodes the suite's prompts, begins to read the model
    studio.load()                              loads everything
    studio.close()                             takes off the LoRA that is still on
    studio.pipe                                DiffSynth's pipeline; stock, outside of `render`

The levers are keys of the suite's `sampling`: `batch`, `cfg_merge`, `tiled`, `compile`, `torch_norm`,
`real_rope`, `text_once` (`suite.LEVERS` has the values at which they are off). A suite with another batch is
`suite.model_copy(update={"sampling": suite.sampling.model_copy(update={"batch": 2})})`.
"""
