# Two commands do everything on a fresh machine with Python and make: `make gate` and `make test`.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# the tests start hundreds of processes: without compiled modules on the disk each compiles the package again
unexport PYTHONDONTWRITEBYTECODE
# as many processes as cores work side by side: threads of torch and BLAS would wait for each other, and burn
# up to three times the processor time while they do
test unit integration: export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help gate gate-bad test lint types docs unit integration browser bench bench-gpu evidence fuzz campaign interop ray watch clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --upgrade pip
	@# of the thousands of modules that are installed few are ever imported: Python compiles those when it does
	$(RUN)/pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

gate: $(INSTALLED)  ## gate an example LoRA with the embedded model, on a CPU
	$(RUN)/pytest --lora examples/epoch-2.safetensors

gate-bad: $(INSTALLED)  ## gate the example that must not be published; fails, as it should
	$(RUN)/pytest --lora examples/epoch-0.safetensors

test: $(INSTALLED) browser  ## everything CI runs: lint, types, documentation, tests
	$(MAKE) --jobs=3 --output-sync=target lint types docs
	@# the long tests first, so that no worker waits for another at the end
	$(RUN)/pytest tests/integration tests/unit -n auto --dist worksteal

lint: $(INSTALLED)  ## style, import layers
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports --no-cache

types: $(INSTALLED)  ## mypy, strict
	$(RUN)/mypy

docs: $(INSTALLED)  ## the documentation as a site in site/; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet

unit: $(INSTALLED)  ## tests of single modules, and of the embedded model
	$(RUN)/pytest tests/unit -n auto

integration: $(INSTALLED) browser  ## real pytest runs, with and without workers
	$(RUN)/pytest tests/integration -n auto

browser: $(INSTALLED)  ## a browser for the tests of the HTML report, if there is none
	@command -v chromium chromium-browser google-chrome google-chrome-stable chrome >/dev/null \
	|| (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes chromium) \
	|| $(RUN)/playwright install --with-deps chromium

bench: $(INSTALLED)  ## speed, compared with the stock way in the same run
	$(RUN)/python -m benchmarks.tiny_render
	$(RUN)/python -m benchmarks.data_report

bench-gpu: $(INSTALLED)  ## the same on a GPU at full size, with random weights: 36 GB of disk, some 20 minutes
	$(RUN)/python -m benchmarks.gpu --seconds 1800 --out .wanlora/bench-gpu.json; status=$$?; \
	$(RUN)/python -m benchmarks.gpu.tables .wanlora/bench-gpu.json --into docs/performance.md; exit $$status

evidence: $(INSTALLED)  ## how often the gate is wrong: whole gates from a bank of videos, some minutes
	$(RUN)/python -m benchmarks.evidence

watch: $(INSTALLED)  ## a watch beside a real training, killed 20 times; some 15 minutes
	$(RUN)/python -m benchmarks.watch_kills

ray: $(INSTALLED)  ## Ray clusters of local nodes: bad cases, 50 gates with a node killed; some 30 minutes
	$(RUN)/pytest tests/ray
	$(RUN)/python -m benchmarks.ray_kills
	$(RUN)/python -m benchmarks.ray_scheduler

fuzz: $(INSTALLED)  ## 2,000 spoilt files of each kind that is read: no crash, no hang, no gigabyte
	$(RUN)/pytest tests/fuzz -n 0 -q

campaign: $(INSTALLED)  ## kills and full disks at every system call of what is written; needs strace
	$(RUN)/python -m tools.kill_campaign

interop: $(INSTALLED)  ## a receipt's bundle verified by @sigstore/verify; needs node, npm and a network
	$(RUN)/python -m tools.interop .wanlora/interop

clean:  ## remove what these commands made
	rm -rf $(VENV) site .wanlora .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
