# Two commands do everything: `make demo` and `make test`. Both set up .venv when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test lint types unit checks reordered certify report sweep tgmm figures bench clean

demo: $(VENV)/installed
	$(BIN)/python -m constructions.em_transformer
	$(BIN)/python -m constructions.tensor_power_transformer --layers 6 --exact

test: lint types unit checks

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

unit: $(VENV)/installed
	$(BIN)/pytest tests -n 2 -q

checks: $(VENV)/installed
	$(BIN)/pytest theory_checks -n 2 -q

# Rows and tests once more with every sum of floats in another order: what pins one processor's rounding fails here.
REORDERED := theory_checks tests
reordered: $(VENV)/installed
	$(BIN)/pytest $(REORDERED) --reordered -n 2 -q

certify: $(VENV)/installed
	$(BIN)/python -m theory_checks --certified --jobs 2
	VERIFY_EXAMPLES=4000 $(BIN)/python -m pytest tests/test_verify_fuzz.py -q -n 2

report: $(VENV)/installed
	$(BIN)/python -m theory_checks --jobs 2 --html report

sweep: $(VENV)/installed
	$(BIN)/python -m theory_checks.sweeps --only calibration --jobs 2
	$(BIN)/python -m theory_checks.calibration
	$(BIN)/python -m theory_checks.sweeps --only min_weight_first min_weight --jobs 2
	$(BIN)/python -m theory_checks.confirmation
	$(BIN)/python -m theory_checks.sweeps --jobs 2

# The models of the experiments, one after the other: some hours; each goes on where it was. Then all measurements.
MODELS := base-d2 base-d8 n32-d8 n64-d8 width32-d8 width128-d8 layers2-d8 layers8-d8 anisotropic-d2 anisotropic-d8 \
	sorted-d2 gpt2-d8 mamba2-d8

tgmm: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,hf]' -c constraints.txt
	for model in $(MODELS); do $(BIN)/python -m tgmm train --config tgmm/configs/$$model.toml || exit 1; done
	$(BIN)/python -m tgmm evaluate --jobs 2
	$(BIN)/python -m tgmm probe --json figures/tgmm_probes.json
	$(BIN)/python -m tgmm real --json figures/tgmm_real.json
	$(BIN)/python -m tgmm warm_start --out figures/warm_start.json

figures: $(VENV)/installed
	$(BIN)/python -m figures

bench: $(VENV)/installed
	$(BIN)/python tests/bench_em_step.py
	$(BIN)/python tests/bench_tensor_power.py
	$(BIN)/python tests/bench_tgmm.py
	$(BIN)/python tests/bench_commands.py

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
