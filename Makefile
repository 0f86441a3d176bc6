# Each target makes what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
PEER := .venv-peer
BIN := $(VENV)/bin
DEMO := demo/Dataset900_Phantom

.PHONY: install peer demo test test-all lint check format schemas options bench kills fuzz clean

install: $(VENV)/installed
peer: $(PEER)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# The real nnU-Net, in an environment of its own: what the interop tests and benchmarks compare with.
$(PEER)/installed: requirements-peer.txt constraints.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --constraint constraints.txt torch numpy
	$(PEER)/bin/python -m pip install --quiet --no-deps --requirement requirements-peer.txt
	touch $@

demo: install
	rm -rf demo
	$(BIN)/resenc-plans demo $(DEMO)
	$(BIN)/resenc-plans verify -d $(DEMO)
	$(BIN)/resenc-plans fingerprint -d $(DEMO)
	$(BIN)/resenc-plans create -d $(DEMO) --gpu-memory 80 --name Plans_80G
	cd $(DEMO) && ../../$(BIN)/resenc-plans derive --batch-size 16
	$(BIN)/resenc-plans show -d $(DEMO)
	$(BIN)/resenc-plans validate -d $(DEMO)
	$(BIN)/resenc-plans preprocess -d $(DEMO)
	cd $(DEMO) && ../../$(BIN)/resenc-plans derive --name small --patch-size 16x32x32 --set batch_size=2
	cd $(DEMO) && ../../$(BIN)/resenc-plans derive --name tiny --from small \
		--set 'architecture.arch_kwargs.features_per_stage=[8,16,32,64]'
	cd $(DEMO) && ../../$(BIN)/resenc-plans train . tiny 0 --settings ../../examples/demo_training.json
	cd $(DEMO) && ../../$(BIN)/resenc-plans predict -d . -c tiny -i imagesTr -o predicted --overlay pictures
	cd $(DEMO) && ../../$(BIN)/resenc-plans evaluate predicted -r labelsTr

# Two processes of one thread each: threads of both on the same cores wait for one another.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

test-all: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest --quiet tests/test_schemas.py tests/test_documentation.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: install
	$(BIN)/resenc-plans schema --output schemas

options: install
	$(BIN)/python -m tests.cli.option_list
	$(BIN)/python -m tests.cli.command_table

bench: install peer
	$(BIN)/python benchmarks

# An hour or more; continues where it was interrupted. What it counts adds up in build/kills.jsonl.
kills: install
	for kind in preprocess train ranks predict; do $(BIN)/python -m tests.faults.kills $$kind || exit 1; done
	$(BIN)/python -m tests.faults.kills report

# Half an hour. What it counts adds up in build/fuzz.jsonl; damaged files that are faults are kept in build/fuzz.
fuzz: install
	$(BIN)/python -m tests.faults.fuzz all
	$(BIN)/python -m tests.faults.fuzz report

clean:
	rm -rf $(VENV) $(PEER) demo
