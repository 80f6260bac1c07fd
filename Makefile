# Carillon's two commands are `make run` and `make test`; the rest is for working on it.
.DEFAULT_GOAL := help
.PHONY: help run build test check test-go test-browser screenshots lint generate bench bench-parts fuzz clean setup-go setup-browser

ARGS ?=
PICTURES ?= $(CURDIR)/bin/pictures
export CGO_ENABLED ?= 0
GO_TOOL := go tool -modfile=deploy/tools.mod

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## start everything with two demo health departments (ARGS="--listen … --data …")
	@exec bin/carillon dev $(ARGS)

build: ## build bin/carillon
	@go build -trimpath -o bin/carillon ./deploy/carillon

test: lint test-go test-browser ## everything that must pass: linters, Go tests with the race detector, browser journeys

check: ## the fast checks: vet and Go tests without the race detector
	go vet ./...
	go test ./...

test-go: setup-go ## Go tests on a real Postgres, with the race detector
	CGO_ENABLED=1 go test -race -vet=off -trimpath -ldflags=-w -tags pkcs11 -timeout 20m ./...
	go test -trimpath -tags release ./deploy/carillon

test-browser: setup-browser build ## journeys in headless Chromium against a running service
	deploy/browser-test

screenshots: setup-browser build ## a picture of every page, light, dark and narrow, into PICTURES; those in deploy/docs/images are renewed
	@rm -f "$(PICTURES)/pages.jsonl"
	CARILLON_SCREENSHOTS="$(PICTURES)" deploy/browser-test pictures
	@echo "pictures are in $(PICTURES)"

lint: setup-go ## golangci-lint with the project's import rules, gofmt, pinned assets
	$(GO_TOOL) golangci-lint run ./...
	CGO_ENABLED=1 $(GO_TOOL) golangci-lint run --build-tags pkcs11 ./signing/provider/pkcs11/...

generate: ## rewrite golden files, and rebuild the portal's assets
	go test ./migrations ./authz ./api ./admin-ui ./deploy/service ./deploy/conformance -update
	cd admin-ui && npm ci && npm run build

bench: build ## measure requests and exports beside floors measured in the same run, and decisions (ARGS="requests --slice …", ARGS="exports --keys …", ARGS=policy)
	@if [ -n "$(ARGS)" ]; then bin/carillon bench $(ARGS); else \
	  missed=0; for part in requests exports policy; do bin/carillon bench $$part || missed=1; done; exit $$missed; fi

bench-parts: ## Go benchmarks of single parts, each with its ratio to a floor measured in the same run
	go test -run '^$$' -bench . -benchtime 2s ./...

fuzz: ## each fuzz target for 20 seconds
	deploy/fuzz 20s

setup-go: ## install a C compiler (for the race detector and PKCS#11), SoftHSM, curl and Python (for the examples) if they are missing
	@deploy/install-packages gcc softhsm2-util curl python3

setup-browser: ## install Node.js, npm and Chromium if they are missing
	@deploy/install-packages node npm chromium

clean: ## remove built files and the demo's data
	rm -rf bin .data admin-ui/node_modules
