# make demo: the main job.  make test: the suite.  make test-fast: what takes seconds.  make test-long: what takes more each.
#  PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast test-hostile test-outage test-long test-kills golden optimizers lint gallery ui bench bench-scale lock clean

demo: $(VENV)/ready
	$(BIN)/optstudy run configs/digits_demo.yaml

test: $(VENV)/ready
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/ready
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-long: $(VENV)/ready
	$(BIN)/python -m pytest -n auto -m long

# Half an hour: a study is killed at 60 moments, and goes on.
test-kills: $(VENV)/ready
	$(BIN)/python -m pytest -n auto -m kills

test-hostile: $(VENV)/ready
	bash tests/hostile_environment.sh $(BIN)

# Kills an MLflow server and locks a database for a minute each, in mid-study.
test-outage: $(VENV)/ready
	$(BIN)/python -m pytest -m outage

# Pins the numbers of new cases in tests/golden; all of them again after TRAINING_VERSION was raised.
golden: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m golden.make_golden

# Trains the optimizers of tests/optimizers_tried.py, and writes the table in docs/optimizers.md.
optimizers: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m optimizers_tried

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rebuilds the shipped studies from their journals, in the folder gallery/, and shows them; it trains nothing.
GALLERY := $(patsubst docs/results/%/journal.jsonl.gz,%,$(wildcard docs/results/*/journal.jsonl.gz))
gallery: $(VENV)/ready
	mkdir -p gallery
	cd gallery && for study in $(GALLERY); do \
		../$(BIN)/optstudy merge ../configs/$$study.yaml ../docs/results/$$study || exit 1; done
	cd gallery && ../$(BIN)/optstudy report $(GALLERY:%=../configs/%.yaml)
	-$(BIN)/python -m webbrowser -t "file://$(CURDIR)/gallery/results/index.html"
	@echo "The same studies in MLflow: cd gallery && ../$(BIN)/optstudy ui"

ui: $(VENV)/ready
	$(BIN)/optstudy ui

# OPTSTUDY_DATA says where Fashion-MNIST lies, for the part on 2c2d.
bench: $(VENV)/ready
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/writing.py
	$(BIN)/python benchmarks/stack_scaling.py
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/study.py

bench-scale: $(VENV)/ready
	$(BIN)/python benchmarks/scale.py

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "optstudy needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

# Resolve again for every supported Python; no index addresses in the file.
lock: $(VENV)/ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --group dev --extra text --extra language --extra optimizers pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV)
