# Two commands on a fresh machine: `make paper` and `make test`. Both make .venv first.

PYTHON ?= python3
VENV := .venv
# The programs of .venv come first, for make's own commands and for the jobs of Snakemake.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: paper archive verify test fuzz test-gpu install browser docs schema lock clean

paper: $(VENV)/installed
	snakemake --cores all --quiet rules host
	@echo "The report:   $(CURDIR)/results/report.html"
	@echo "The verdicts: $(CURDIR)/results/claims.csv"
	@echo "Every cell:   $(CURDIR)/results/cells.csv"

install: $(VENV)/installed

# Finished results as one file to publish; and CELLS of results, or of such a file, redone, as SEED draws them.
WHAT ?= results
CELLS ?= 5
archive: $(VENV)/installed
	python -m clipgrid archive --study "$(WHAT)/study.json"
verify: $(VENV)/installed
	python -m clipgrid verify "$(WHAT)" --cells $(CELLS) $(addprefix --seed ,$(SEED))

test: $(VENV)/installed browser
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	pytest -n 3 --dist loadfile --no-loadscope-reorder -rs

# What chance spoils: MANY studies and claims (each is loaded, or refused in one error), FLIPS bits of
# each kind of stored file, a study that is killed KILLS times. Give the FIRST of a run again to repeat it.
MANY ?= 20000
FLIPS ?= 200
KILLS ?= 200
FIRST ?= $(shell date +%s)
fuzz: $(VENV)/installed
	CLIPGRID_FUZZ_FIRST=$(FIRST) CLIPGRID_FUZZ=$(MANY) CLIPGRID_FLIPS=$(FLIPS) CLIPGRID_KILLS=$(KILLS) \
	    pytest -n 3 --dist loadfile -rs tests/*/test_spoilt_*.py tests/unit/test_flips.py \
	    tests/workflow/test_killed.py

# What only a GPU can show: ten minutes, on its machine. It writes build/gpu.json.
test-gpu:
	PYTHONPATH=src $(PYTHON) -m pytest tests/gpu -p no:cacheprovider -rs

# The tests open the report in the system's Chromium.
browser:
	@which chromium chromium-browser google-chrome | grep -q . || { \
	    [ "$$(id -u)" = 0 ] && apt-get update --quiet=2 && apt-get install --yes --quiet=2 chromium; } \
	    || { echo "the tests need Chromium; on Debian: sudo apt install chromium"; exit 1; }

$(VENV)/installed: envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "clipgrid needs Python 3.11 or newer; name one: make PYTHON=python3.12 paper"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { echo "making a virtual environment failed; on Debian: apt install python3-venv"; exit 1; }
	$(VENV)/bin/pip install --quiet --requirement envs/requirements.lock
	$(VENV)/bin/pip install --quiet --no-deps --editable .
	@touch $@

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	@echo "The manual: $(CURDIR)/build/docs/index.html"

# What editors check studies and claims by. Written aside: a failure leaves the old one.
schema: $(VENV)/installed
	for of in study claims; do \
	    python -m clipgrid schema $$of > .schema.json \
	    && mv .schema.json workflow/schemas/$$of.schema.json || { rm -f .schema.json; exit 1; }; done

# Pin anew what pyproject.toml asks for (torch and torchvision stay: they are a pair). Run it with the
# oldest Python that is supported: its packages install on newer ones, not the other way round.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet $$(grep -E '^(torch|torchvision)==' envs/requirements.lock) '.[study,export,test]'
	.venv-lock/bin/pip freeze --exclude clipgrid --exclude-editable \
	    | grep -viE '^(nvidia|cuda|triton)' | sed 's/+cpu$$//' > envs/requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf results store .snakemake
