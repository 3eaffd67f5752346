# Everything a person types. `make` alone lists it.

FOCUS   ?=
SEED    ?=
# Four labs run at once on an engine: they wait as much as they compute.
comma   := ,
ENGINE_COUNT = $(if $(filter slurm,$(ENGINES)),$(SLURM_JOB_NUM_NODES),$(words $(subst $(comma), ,$(or $(ENGINES),one))))
KEPT    := $(KEEP)$(findstring sleep-on-failure,$(GINKGO_ARGS))
PROCS   ?= $(if $(KERNEL)$(KEPT),1,$(shell echo $$((4 * $(or $(ENGINE_COUNT),1)))))
KERNEL  ?=
REPORTS ?= reports

# The race detector needs cgo and a C compiler; without them the tests run without it.
RACE = $(if $(and $(filter 1,$(shell go env CGO_ENABLED)),$(shell command -v $(firstword $(shell go env CC)))),-race)

# Packages whose tests touch a kernel run inside a container, so that nobody needs root. The agent's have no exact counts to keep up with
# and much that runs side by side: there the race detector comes along.
IN_CONTAINER := ./bpf/demux ./harness/internal/drops ./harness/internal/vlanport ./harness/internal/threads ./harness/internal/fault ./harness/internal/wire ./harness/internal/probe ./harness/internal/traffic ./images/host/vlandemux
RACED_IN_CONTAINER := ./harness/internal/agent
# These start containers by the dozen and say how soon they are gone: one package at a time.
AGAINST_ENGINE := ./harness ./harness/internal/engine ./harness/internal/images ./harness/internal/badplaces ./harness/dockerexec
ON_HOST = $(filter-out $(shell go list ./e2e $(AGAINST_ENGINE) $(IN_CONTAINER) $(RACED_IN_CONTAINER)),$(shell go list ./...))

# With KERNEL, everything is compiled into a folder below build/ and run on that
# kernel: in a virtual machine, where a path means what it means here. Its reports
# get a folder of their own. What checks or tests is compiled in any case, since
# `go tool` makes a success of a program that is killed.
export ENGINES
# Programs run in folders of their own.
override DEMUX := $(if $(DEMUX),$(abspath $(DEMUX)))
export DEMUX
# A regular expression: neither make nor the shell is to read anything into it.
override FOCUS := $(value FOCUS)
export FOCUS
ifneq ($(CAPTURES),)
# Not every shell replaces the ~ of CAPTURES=~/captures.
override CAPTURES := $(patsubst ~/%,$(HOME)/%,$(CAPTURES))
export CAPTURES
endif

NAME  := $(notdir $(KERNEL:/=))
OUT   := $(REPORTS)$(if $(KERNEL),/$(NAME))
BUILT := $(CURDIR)/build$(if $(KERNEL),/$(NAME))
export KERNEL_SOURCES
$(if $(and $(KERNEL),$(KEPT)),$(error KEEP: nobody can enter a lab inside of the virtual machine of KERNEL=$(KERNEL); EVIDENCE=always saves what there is of each spec))
$(if $(KEPT),$(if $(filter-out 1,$(PROCS)),$(error KEEP holds one lab up at a time: PROCS=1)))
VM     = $(BUILT)/vm --kernel=$(KERNEL) --sources="$$KERNEL_SOURCES" --console=$(OUT)/console.log --timeout=1h $(if $(CPUS),--cpus=$(CPUS)) \
	--env=VLANDEMUX_SWITCH=$(or $(VLANDEMUX_SWITCH),all)

GINKGO_FLAGS = --procs=$(PROCS) --output-dir=$(abspath $(OUT)) --junit-report=junit.xml --json-report=report.json \
	$(if $(SEED),--seed=$(SEED)) $(if $(FOCUS),--focus="$$FOCUS") $(GINKGO_ARGS)

# In the environment: it is heeded by all that Ginkgo says.
PLAIN = [ -t 1 ] && [ -z "$$NO_COLOR" ] || export GINKGO_NO_COLOR=1

.DEFAULT_GOAL := help
.PHONY: help sources e2e merge test demo bench lint package generate clean

help: ## list these targets
	@printf 'vlandemux: give every client behind a VLAN trunk a worker of its own.\n\n'
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables:\n'
	@printf '  FOCUS="MAC move"          only the scenarios that match   (e2e)\n'
	@printf '  SEED=42                   repeat the run of that seed     (e2e)\n'
	@printf '  KERNEL=6.1                in a VM with that kernel: of the package index, a .deb, a folder (e2e, test, bench)\n'
	@printf '  CPUS=1                    processors of that VM           (e2e, test)\n'
	@printf '  KERNEL_SOURCES="deb ..."  from another archive than this machine has (e2e, test)\n'
	@printf '  GINKGO_ARGS="-v --repeat=9" more arguments for ginkgo     (e2e)\n'
	@printf '  KEEP=failure              keep the lab of a failed spec up to look into it, or =always (e2e)\n'
	@printf '  EVIDENCE=always           save what there is of each spec, not of failed ones alone (e2e)\n'
	@printf '  PROCS=4                   number of labs run in parallel  (e2e)\n'
	@printf '  BENCH=program,lab         only these names or groups      (bench)\n'
	@printf '  COMPARE=old.json          say what changed since that run (bench)\n'
	@printf '  VLANDEMUX_AXES=pairs      not each switch in each attach mode, for emulated processors (e2e)\n'
	@printf '  FULL=1                    the largest sizes there are     (e2e)\n'
	@printf '  SHARD=2/3                 the second of three parts, each about as long (e2e)\n'
	@printf '  SHARDS=DIR                the reports of all parts, each in a folder of its own below DIR (merge)\n'
	@printf '  CAPTURES=DIR              replay the captures in DIR      (e2e)\n'
	@printf '  VLANDEMUX_SWITCH=KINDS    run on each of these switches: 8021q,tc,bridge or all  (e2e; one: demo)\n'
	@printf '  DEMUX=PROGRAM             test this program instead of ours (e2e)\n'
	@printf '  ENGINES=tcp://a,ssh://b   on several Docker engines at once, or =slurm (e2e)\n'
	@printf '  DOCKER_HOST=...           another Docker engine           (e2e, test, demo)\n'

# Nobody needs clang to notice that objects are older than their sources.
sources:
	@for sums in $(dir $(wildcard bpf/*/bpf.sha256 harness/internal/*/bpf.sha256 e2e/*/*/bpf.sha256)); do \
		(cd $$sums && sha256sum --check --quiet --strict bpf.sha256) || \
			{ echo "The BPF objects in $$sums are not made of the sources beside them. Run 'make generate' (clang-16) and commit what it changes."; exit 1; }; \
	done

e2e: sources ## run the demux in Docker and check every scenario frame by frame
	@mkdir -p $(OUT)
	@go build -o $(BUILT)/ github.com/onsi/ginkgo/v2/ginkgo ./e2e/progress ./harness/imagetool
	@go test -c -o $(BUILT)/e2e.test ./e2e
ifndef KERNEL
	@$(BUILT)/imagetool ensure
	@$(PLAIN); VLANDEMUX_REPORTS=$(abspath $(OUT)) exec $(BUILT)/progress $(BUILT)/ginkgo run $(GINKGO_FLAGS) $(BUILT)/e2e.test
else
	CGO_ENABLED=0 go build -o $(BUILT)/vm ./images/vm/vm
	$(BUILT)/imagetool build $(BUILT)/images
	@$(PLAIN); exec $(VM) --share=$(OUT) --env=EVIDENCE --env=GITHUB_ACTIONS --env=GINKGO_NO_COLOR $(if $(CAPTURES),--env=CAPTURES=$(abspath $(CAPTURES))) $(if $(FULL),--env=FULL=$(FULL)) $(if $(SHARD),--env=SHARD=$(SHARD)) $(if $(DEMUX),--env=DEMUX=$(DEMUX)) $(if $(VLANDEMUX_AXES),--env=VLANDEMUX_AXES=$(VLANDEMUX_AXES)) --env=VLANDEMUX_KERNEL=$(KERNEL) --env=VLANDEMUX_IMAGES=$(BUILT)/images \
		--env=VLANDEMUX_REPORTS=$(abspath $(OUT)) -- $(BUILT)/progress $(BUILT)/ginkgo run $(GINKGO_FLAGS) $(BUILT)/e2e.test
endif

merge: ## make one report of those that parts of the suite (SHARD) have left in folders below SHARDS
	$(if $(SHARDS),,$(error merge: say where the reports of the parts are, each in a folder of its own: make merge SHARDS=DIR))
	@SHARDS=$(abspath $(SHARDS)) go test -count=1 -v -run TestE2E ./e2e

test: sources ## run the tests; those that touch a kernel run in a container, or in the VM alone
ifndef KERNEL
	@echo 'On this machine$(if $(RACE), (the race detector makes the first compilation take minutes)):'
	@go test $(RACE) $(ON_HOST)
	@echo 'Against the Docker engine:'
	@go test -p 1 $(AGAINST_ENGINE)
	@echo 'In containers:'
	@go build -o $(BUILT)/dockerexec ./harness/dockerexec
	@go test -exec $(BUILT)/dockerexec $(IN_CONTAINER)
	@go test $(RACE) -exec $(BUILT)/dockerexec $(RACED_IN_CONTAINER)
else
	@mkdir -p $(OUT)
	CGO_ENABLED=0 go build -o $(BUILT)/vm ./images/vm/vm
	go test -c -o $(BUILT)/tests/ $(IN_CONTAINER) $(RACED_IN_CONTAINER)
	@exec $(VM) --no-docker -- sh -c 'failed=0; for package in $(IN_CONTAINER) $(RACED_IN_CONTAINER); do \
		echo "=== $$package"; (cd $$package && $(BUILT)/tests/$${package##*/}.test -test.timeout=40m) || failed=1; \
	done; exit $$failed'
endif

demo: ## watch three clients with one IP address reach three workers
	@go run ./e2e/demo

bench: ## measure the demux beside its limit and the kernel's own means, and labs beside bare containers
	@go build -o $(BUILT)/dockerexec ./harness/dockerexec
	@$(if $(KERNEL),CGO_ENABLED=0 go build -o $(BUILT)/vm ./images/vm/vm)
	@CGO_ENABLED=0 go build -o $(BUILT)/bench/testdata/vlandemux ./images/host/vlandemux
	@CGO_ENABLED=0 go build -o $(BUILT)/bench/dataplane ./e2e/bench/dataplane
	@go build -o $(BUILT)/bench/bench ./e2e/bench
	@exec $(BUILT)/bench/bench -built=$(BUILT) -reports=$(REPORTS) $(if $(BENCH),-only=$(BENCH)) $(if $(COMPARE),-compare=$(COMPARE)) $(if $(KERNEL),-kernel=$(KERNEL))

lint: sources ## gofmt, go vet, golangci-lint, actionlint, generated files up to date
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'these files want gofmt -w'; exit 1; }
	go vet ./...
	go build -modfile=.ci/tools/go.mod -o $(BUILT)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	$(BUILT)/golangci-lint run ./...
	go build -modfile=.ci/tools/actionlint.mod -o $(BUILT)/actionlint github.com/rhysd/actionlint/cmd/actionlint
	$(BUILT)/actionlint

# A version begins with a digit: that of the tag, else of the commit.
VERSION ?= $(patsubst v%,%,$(or $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null),0~$(shell git log -1 --format=%cd --date=format:%Y%m%d).$(shell git rev-parse --short HEAD)))
package: export ARCH = $(shell go env GOARCH)
package: export BUILT := $(BUILT)/package
package: export VERSION := $(VERSION)
package: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
package: sources ## build a Debian package in build/package, from Go modules alone
	@rm -rf $(BUILT) && mkdir -p $(BUILT)/man $(BUILT)/completion
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags '-s -w' -o $(BUILT)/vlandemux ./images/host/vlandemux
	@$(BUILT)/vlandemux man $(BUILT)/man && gzip -9n $(BUILT)/man/*.8
	@$(BUILT)/vlandemux completion bash >$(BUILT)/completion/vlandemux
	@$(BUILT)/vlandemux completion zsh >$(BUILT)/completion/_vlandemux
	@$(BUILT)/vlandemux completion fish >$(BUILT)/completion/vlandemux.fish
	go build -modfile=.ci/tools/nfpm.mod -o build/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
	@build/nfpm package --packager deb --config images/host/vlandemux/package/nfpm.yaml --target $(BUILT)

generate: ## compile the BPF programs again (needs clang-16, llvm-16, libbpf-dev)
	go generate ./...

clean: ## remove reports, what was built and this project's unused images
	rm -rf $(REPORTS) build
	go run ./harness/imagetool prune
