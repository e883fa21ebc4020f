# The only commands a newcomer needs. `make` lists them.

GO      ?= go
BIN     := bin/holdfast
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/holdfast/holdfast/daemon.Version=$(VERSION)
export CGO_ENABLED = 0

# What `make demo` needs of Debian, and what the tests need beside it.
DEMO_PACKAGES := mmdebstrap erofs-utils nftables iproute2 ca-certificates
TEST_PACKAGES := gcc libc6-dev libseccomp-dev crun runc podman buildah catatonit busybox-static nftables iptables \
	nginx-light apache2-bin haproxy wrk postgresql-client curl tmux

.PHONY: help build setup setup-test test check bench bench-% fmt lint demo demo-down

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## build the one binary into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/holdfast

setup: ## install the Debian packages that the demo needs
	@./scripts/install $(DEMO_PACKAGES)

setup-test: ## install the Debian packages that the tests need
	@./scripts/install $(DEMO_PACKAGES) $(TEST_PACKAGES)

# Passwords of the demo, made on first use and known to nobody.
examples/arcade/secrets/%:
	@mkdir -p $(@D)
	@umask 077 && head -c 24 /dev/urandom | base64 >$@

demo: setup build examples/arcade/secrets/db_password examples/arcade/secrets/jwt_key ## deploy examples/arcade on this machine
	@$(BIN) up -f examples/arcade/compose.yaml
	@./scripts/demo-hints $(BIN)

demo-down: build ## remove all that the demo made
	@./scripts/demo-down $(BIN)

test: setup-test build ## run all tests
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 20m ./...

check: ## vet, and look for what is badly formatted
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run make fmt'; exit 1; }
	$(GO) vet ./...

lint: ## run the linters, at the versions that tools/go.mod pins
	$(GO) tool -modfile=tools/go.mod golangci-lint run

fmt: ## format all code
	gofmt -w .

bench: build ## compare the hot paths with their peers; takes some minutes
	./scripts/bench

bench-%: build ## run one of the entries of bench/
	$(GO) run ./bench/$*
