# make help lists what there is.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FLAGS   := -trimpath -ldflags "-s -w -X github.com/gregorhq/gregor/internal/cli.version=$(VERSION)"
N       ?= 1000
SECONDS_EACH ?= 60
DURATION ?= 20m

export CGO_ENABLED = 0

.PHONY: help build run test race lint fuzz trial trial-mutants chaos streams-kills compat compat-streams record-streams bench bench-streams cross clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## build bin/gregor, a static binary
	$(GO) build $(FLAGS) -o bin/gregor ./cmd/gregor

run: build ## start a node that keeps its data in ./data
	./bin/gregor start --data-dir data

test: ## run the tests, in about a minute
	$(GO) test ./...

race: ## run the tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race ./...

lint: ## gofmt, vet and staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

fuzz: ## run every fuzz target for SECONDS_EACH seconds (60)
	scripts/fuzz $(SECONDS_EACH)

trial: ## live N (1000) simulated lives of clusters of 1 to 7 nodes, each twice
	$(GO) run ./cmd/trial -n $(N)

trial-mutants: ## find every bug that is planted on purpose
	$(GO) run ./cmd/trial -mutants

chaos: build ## hurt a cluster of real processes for DURATION (20m), with faults drawn from SEED (random)
	$(GO) build -o bin/chaos ./chaos
	bin/chaos -duration $(DURATION) -seed $(or $(SEED),0) $(CHAOS_FLAGS)

streams-kills: build ## kill instances of a stream processing application for DURATION (10m), drawn from SEED (random)
	$(GO) build -o bin/streams-kills ./chaos/streams
	bin/streams-kills -duration $(if $(filter file,$(origin DURATION)),10m,$(DURATION)) -seed $(or $(SEED),0)

compat: build ## run foreign clients and their suites against nodes and clusters; CASES=name,… selects, QUICK=1 takes one case per client
	compat/run

compat-streams: build ## compare streams with Java's Kafka Streams on random topologies, and hand over both ways, on Gregor and Kafka; SEED=n, QUICK=1
	compat/streams/run

record-streams: ## record anew what Java Kafka Streams does with the topologies of streams/record
	streams/record/run

bench: build ## compare with Apache Kafka on this machine; WORKLOADS=name,… selects, CLUSTER=3 compares clusters
	bench/run

bench-streams: build ## compare streams with Java's Kafka Streams on a Gregor node; BENCH_FLAGS="-loads join,restore" selects
	bench/streams/run $(BENCH_FLAGS)

cross: ## build for Linux and macOS, amd64 and arm64, into dist/
	@for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		echo $$target; \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build $(FLAGS) -o dist/gregor-$${target%/*}-$${target#*/} ./cmd/gregor || exit 1; \
	done

clean: ## remove what was built
	rm -rf bin dist
