# oomwitness. "make help" lists the targets.

SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS  += --no-print-directory

GO       ?= go
FLAVOUR  ?= plain
KERNEL   ?= 6.1
ARCH     ?= amd64
MEMORY   ?= $(if $(filter kube,$(FLAVOUR)),4096,3072)
N        ?= 40
SCENARIO ?= .
FUZZTIME ?= 1m
export KERNEL MEMORY APPEND ARCH

COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
# The programs' version: VERSION if that is given, as for a release.
SELF     = v$(VERSION)$(if $(filter command environment,$(firstword $(origin VERSION))),,-dev)
CLI     := github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cli
# Functions begin at 16 bytes: at 32, the default for amd64, the files are 1 per cent larger.
LDFLAGS  = -s -w -funcalign=16 -X $(CLI).version=$(SELF) -X $(CLI).commit=$(COMMIT) -X main.version=$(SELF) -X main.commit=$(COMMIT)
STATIC   = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
# Shims use ttrpc alone, so that gRPC is left out: containerd builds its own shim with this tag too.
# The shim only reads the ledger: no_loader leaves out what loads it. By purego Go's
# cryptography is linked without its code for each kind of CPU: a shim hashes the address of
# its socket once. The modfile puts modules beside the shim in the place of others.
# The packages of SMALL run once in a shim's life, or never, and so without inlined calls.
SMALL   := github.com/pelletier/go-toml/v2/unstable regexp/syntax google.golang.org/protobuf/types/descriptorpb google.golang.org/protobuf/internal/filedesc
SHIM     = -tags no_grpc,purego,no_loader $(SMALL:%=-gcflags=%=-l) -modfile=$(CACHE)/shim.mod ./cmd/containerd-shim-oomwitness-v2
CACHE   := .cache
# Files for the guest of another architecture are in a folder of their own, beside those for
# this machine.
FOREIGN := $(filter-out amd64,$(ARCH))
TARGET   = $(if $(FOREIGN),GOARCH=$(if $(filter arm64,$(FOREIGN)),$(FOREIGN),$(error ARCH=$(ARCH): allowed are amd64 and arm64)))
BIN     := $(if $(FOREIGN),$(CACHE)/$(FOREIGN)/bin,bin)
PAYLOAD := $(CACHE)/$(if $(FOREIGN),$(FOREIGN)/)payload
GUEST   := $(if $(FOREIGN),$(FOREIGN)-)$(FLAVOUR)
NODE    := $(CACHE)/bin/node
RUN      = $(NODE) run --flavour $(1) --timeout $(2) --file $(PAYLOAD)/bin=bin --file $(PAYLOAD)/tests=tests --file $(PAYLOAD)/rootfs=rootfs
# Debian's supervisors and earlyoom, which containers of the guest's tests run.
SUPERVISORS = $(if $(FOREIGN),,--file "$$($(NODE) debian-supervisors)=debian")
say      = printf '\n== %s\n' "$(1)"

# Tests that run in the guest, on cgroup v2: those of integration/, and unit tests.
# A test that does not depend on the cgroup driver runs under one driver.
GUEST_TESTS   := $(if $(FOREIGN),scenario,scenario fire differential faults kube agent compat)
ROOT_TESTS    := oom bpf
TESTS_plain   ?= oom scenario $(if $(FOREIGN),,fire)
TESTS_systemd := scenario $(if $(FOREIGN),,faults-short)

.PHONY: help
help: ## Show this list
	@echo "oomwitness: reports every OOM kill as OOMKilled, before anyone can see the exit"
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  FLAVOUR=plain|systemd|kube  KERNEL=6.1  MEMORY=MiB  choose the node VM;  N=number of runs of compare"
	@echo "  ARCH=arm64  with build, prepare, guest, kernels, demo and shell: for an emulated arm64 VM; not with kube"
	@echo "  APPEND='cgroup.memory=nokmem'  adds words to the kernel's command line"
	@echo "  SCENARIO=regexp  selects tests in the guest, such as TestScenario/pod-limit"
	@echo
	@echo "Targets with the VM need root and apt once, and print the packages that they install. make unit needs neither."

$(CACHE)/shim.mod: go.mod go.sum cmd/containerd-shim-oomwitness-v2/modfile.sh
	@mkdir -p $(@D)
	@cmd/containerd-shim-oomwitness-v2/modfile.sh $@

.PHONY: build
build: $(CACHE)/shim.mod ## Build static binaries into bin/, with ARCH=arm64 into .cache/arm64/bin
	@$(call say,$(BIN)/: containerd-shim-oomwitness-v2 and oomwitness)
	@mkdir -p $(BIN)
	$(TARGET) $(STATIC) -o $(BIN)/ $(SHIM)
	$(TARGET) $(STATIC) -o $(BIN)/ ./cmd/oomwitness
	$(TARGET) $(STATIC) -o $(BIN)/ ./cmd/kubectl-oomwitness

# $(1) a folder, $(2) more programs: the programs of all architectures, each in a folder
# of its name.
programs_into = for arch in $(ARCHES); do for program in "$(SHIM)" ./cmd/oomwitness $(2); do \
	  GOARCH=$$arch $(STATIC) -buildvcs=false -o $(1)/$$arch/ $$program; done; done

.PHONY: image
image: $(CACHE)/shim.mod ## Make the container image for amd64 and arm64, an OCI archive with bills of materials, in .cache/image
	@$(call say,container image: $(IMAGE))
	$(call programs_into,$(CACHE)/image)
	@cd integration && $(GO) build -o ../$(CACHE)/bin/image ./cmd/image
	@$(CACHE)/bin/image --out $(CACHE)/image --ref $(IMAGE) --version $(VERSION) --revision $(COMMIT) --created $(COMMITTED) \
	  $(foreach arch,$(ARCHES),--bin $(arch)=$(CACHE)/image/$(arch))
ARCHES    ?= amd64 arm64
VERSION   := $(shell awk '/^appVersion:/ { print $$2 }' runtime-class/chart/Chart.yaml)
COMMITTED := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
IMAGE     ?= localhost/oomwitness:$(VERSION)

DIST = $(CACHE)/release/$(VERSION)
NFPM = $(GO) tool -modfile=.ci/nfpm/go.mod nfpm
SEAL = --out $(DIST) --version $(VERSION) --revision $(REVISION) --created $(COMMITTED) --repository '$(REPOSITORY)' \
  --command 'make release VERSION=$(VERSION) REPOSITORY=$(REPOSITORY)'

.PHONY: release
release: REVISION := $(shell git rev-parse HEAD)
release: COMMIT = $(REVISION)
release: export SOURCE_DATE_EPOCH = $(COMMITTED)
release: $(CACHE)/shim.mod ## Make the files of a release in .cache/release: VERSION=1.2.3, REPOSITORY=host/name, COSIGN_KEY=file
	@$(call say,release $(VERSION) of $(REVISION))
	@[ -z "$$(git status --porcelain)" ] || { echo "make release: the working tree has changes, and a release is of a commit" >&2; exit 1; }
	@rm -rf $(DIST) $(CACHE)/release/bin
	$(call programs_into,$(CACHE)/release/bin,./cmd/kubectl-oomwitness)
	@cd integration && $(GO) build -o ../$(CACHE)/bin/release ./cmd/release
	$(CACHE)/bin/release $(SEAL) $(foreach arch,$(ARCHES),--bin $(arch)=$(CACHE)/release/bin/$(arch))
	for arch in $(ARCHES); do for packager in deb rpm; do \
	  VERSION=$(VERSION) ARCH=$$arch BIN=$(CACHE)/release/bin/$$arch $(NFPM) package --config packaging/nfpm.yaml --packager $$packager \
	    --target $(DIST)/oomwitness_$(VERSION)_linux_$$arch.$$packager; done; done
	packaging/krew/manifest.sh $(VERSION) $(DIST) > $(DIST)/kubectl-oomwitness.yaml
	$(CACHE)/bin/release --seal $(SEAL)
	$(if $(COSIGN_KEY),for file in SHA256SUMS provenance.intoto.json; do \
	  cosign sign-blob --yes --key '$(COSIGN_KEY)' --bundle $(DIST)/$$file.sigstore.json $(DIST)/$$file; done)
	@cd $(DIST) && sha256sum --check --quiet SHA256SUMS && ls -l

.PHONY: release-test
release-test: $(HELM) ## Build the release of HEAD twice, in two folders, and compare the files; some minutes
	@$(call say,a release twice)
	packaging/twice.sh $(CACHE)/release/twice $(RELEASE_TEST_VERSION)
RELEASE_TEST_VERSION := 9.8.7-test.1

.PHONY: krew
krew: ## Build the kubectl plugin for Linux, macOS and Windows, and its manifest for krew, in .cache/krew: VERSION=1.2.3
	@$(call say,kubectl plugin $(VERSION))
	@mkdir -p $(CACHE)/krew
	packaging/krew/manifest.sh $(VERSION) $(CACHE)/krew > $(CACHE)/krew/oomwitness.yaml

HELM := $(CACHE)/bin/helm
DESCHEDULER := $(CACHE)/bin/descheduler

.PHONY: chart
chart: $(HELM) ## Lint and test the Helm chart; the first time also builds Helm, which takes minutes
	@$(call say,Helm chart)
	$(HELM) lint --strict runtime-class/chart
	$(GO) test -count=1 ./runtime-class
	cd integration && $(GO) test -count=1 -run TestDocument ./chart

$(HELM): .ci/helm/go.mod
	@mkdir -p $(@D)
	cd .ci/helm && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../$(HELM) helm.sh/helm/v4/cmd/helm

OTLP := $(CACHE)/bin/otlp

.PHONY: otlp
otlp: $(OTLP) ## The agent's log records at the receiver of the OpenTelemetry collector, which takes minutes to build at the first time
	@$(call say,OpenTelemetry)
	$(GO) test -count=1 -run TestReceiver -v ./agent/internal/otlp

$(OTLP): .ci/otlp/go.mod .ci/otlp/main.go
	@mkdir -p $(@D)
	cd .ci/otlp && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../$(OTLP) .

.PHONY: unit
unit: ## Run the unit tests with the race detector; as root also the tests on this machine's cgroups
	@$(call say,unit tests of the project)
	$(GO) test -race $$($(GO) list ./... | grep -v /bpf$$)
	$(GO) test -race -run '$(LEDGER_UNIT)' ./bpf
	$(GO) test ./shim/internal/exit
	cd jobfailure && $(GO) test -race ./...
	@$(call say,unit tests of the node VM)
	cd integration && $(GO) test -race ./node/... ./guest/... ./mix/... ./cri/... ./compat/... ./image/... ./documents/... ./release/...
	cd integration && $(GO) test -race -run '$(JUDGE_UNIT)' ./faults
# The judge of the faults, in made-up worlds.
JUDGE_UNIT := TestLost|TestGivenBy|TestRecorded

# The ledger's tests that make no kills. Every ledger sees all kills of its machine, so that
# the other tests need the machine for themselves: make ledger.
LEDGER_UNIT := TestLayout|TestForeignFolder|TestEntryMadeAmidAReading|TestBothObjects|TestMaps|TestDecodeRecord|TestCause$$|TestCauseByCounters|TestParseStat|TestTierNames|TestGenerationName|TestWallTime|TestAbsent|TestPermissionNames|TestOverlap|TestRelocations|TestBothShapes|TestDyingTask|TestRingFull|TestManyCgroups|TestLockedMemory|TestRefused|TestFunctionMissed|TestInsideFunction|TestMemoryUsedAgain|TestFlightMet|TestLineage$$|TestTaskRef|TestEvicted|TestKillsElsewhere|TestManyOfOne|TestInits|TestCarryInits|TestMemoryEvidence|TestParseSymbols|Fuzz

.PHONY: ledger
ledger: ## Run the ledger's own tests: on this machine, and in the guest on KERNEL with each tier
	@$(call say,the ledger on this machine)
	$(GO) test -count=1 -timeout 30m ./bpf
	@$(MAKE) kernels LEDGER_KERNELS=$(KERNEL)

.PHONY: kernels
kernels: ## Run the ledger's tests in the guest on every kernel with each tier; two hours
	@$(call say,the ledger in the guest: kernels $(LEDGER_KERNELS))
	cd integration && LEDGER_KERNELS=$(LEDGER_KERNELS) $(GO) test -count=1 -v -timeout 12h ./ledger
LEDGER_KERNELS ?= all

.PHONY: bench
bench: bench-machine bench-guest ## Measure shim and ledger, the shim beside the stock shim: on this machine, and in the guest on KERNEL

BENCH     := $(CACHE)/bench
BENCH_ENV := BENCH_CYCLES BENCH_STARTS BENCH_PODS BENCH_IDLE BENCH_EXECS BENCH_STATS BENCH_OOMS BENCH_STORM BENCH_STORMS
FIGURES   := awk 'match($$0, /metric=/) { print substr($$0, RSTART) } /^table / { on = 1 } on; /FAIL|Error/'

# Both shims, built with the same flags, and the tests that compare them.
.PHONY: bench-build
bench-build: build
	@mkdir -p $(BENCH)
	cd integration && $(STATIC) -tags no_grpc -o ../$(BENCH)/ github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	cd integration && CGO_ENABLED=0 $(GO) test -c -o ../$(BENCH)/bench.test ./bench

.PHONY: bench-machine
bench-machine: bench-build ## The part of bench on this machine: BENCH_CYCLES=300 and others, see integration/bench
	@[ "$$(id -u)" = 0 ] || { echo "make bench: needs root, since it makes cgroups and containers" >&2; exit 1; }
	@$(call say,the shim beside the stock one on this machine; $$(uptime))
	cd integration/bench && STOCK_SHIM=$(CURDIR)/$(BENCH)/containerd-shim-runc-v2 OOMWITNESS_SHIM=$(CURDIR)/bin/containerd-shim-oomwitness-v2 \
	  ../../$(BENCH)/bench.test -test.v -test.timeout 2h -test.run '$(SCENARIO)' | $(FIGURES)
	@$(call say,metrics of the ledger on this machine)
	BENCH_KILLS=$(BENCH_KILLS) SCAN=$(BENCH_SCAN) $(GO) test -count=1 -v -run '$(LEDGER_BENCH)' ./bpf | $(METRICS)

.PHONY: bench-guest
bench-guest: payload bench-build ## The part of bench in the guest, on cgroup v2: from kill to TaskOOM, 200 at once, the ledger
	@$(call say,the shim beside the stock one in the guest: kernel $(KERNEL))
	$(call RUN,$(FLAVOUR),2h) --file $(BENCH)=bench $(foreach v,$(BENCH_ENV),$(if $($(v)),--env $(v)=$($(v)))) \
	  --env STOCK_SHIM=/opt/oomwitness/bench/containerd-shim-runc-v2 \
	  -- /opt/oomwitness/bench/bench.test -test.v -test.timeout 2h -test.run 'TestKillToOOM|TestStorm' | $(FIGURES)
	@$(call say,metrics of the ledger in the guest: kernel $(KERNEL))
	cd integration && BENCH_KILLS=$(BENCH_KILLS) SCAN=$(BENCH_SCAN) LEDGER_RUN='$(LEDGER_BENCH)' LEDGER_KERNELS=$(KERNEL) \
	  $(GO) test -count=1 -v -run 'TestKernels/$(KERNEL)' -timeout 12h ./ledger | $(METRICS)

.PHONY: bench-growth
bench-growth: bench-build ## Measure how the cost grows with containers, pods, cgroups and kills, on this machine; BENCH_GROWTH=20 runs of each size
	@[ "$$(id -u)" = 0 ] || { echo "make bench-growth: needs root, since it makes cgroups and containers" >&2; exit 1; }
	@$(call say,how it grows; $$(uptime))
	cd integration/bench && STOCK_SHIM=$(CURDIR)/$(BENCH)/containerd-shim-runc-v2 OOMWITNESS_SHIM=$(CURDIR)/bin/containerd-shim-oomwitness-v2 \
	  BENCH_GROWTH=$(BENCH_GROWTH) ../../$(BENCH)/bench.test -test.v -test.timeout 2h -test.run '^TestBy' | $(FIGURES)
BENCH_GROWTH ?= 20

BENCH_KILLS  ?= 200
METRICS      := awk 'match($$0, /metric=/) { print substr($$0, RSTART) } /FAIL|Error/'
LEDGER_BENCH := ^TestCost$$|^TestScanCost$$|^TestLockedMemory$$|^TestLoadAgain$$
BENCH_SCAN   ?= 5000

.PHONY: bench-go
bench-go: ## Benchmark hot paths in oom/, bpf/ and agent/; BASE=file compares with an earlier run, by benchstat
	@$(call say,benchmarks)
	@mkdir -p $(BENCH)
	$(GO) test -run '^$$' -bench . -count $(BENCH_COUNT) ./oom ./bpf ./agent | tee $(BENCH)/$(COMMIT).txt
	$(GO) tool -modfile=.ci/benchstat/go.mod benchstat $(BASE) $(BENCH)/$(COMMIT).txt
BENCH_COUNT ?= 10

.PHONY: root
root: build ## Test the real shim on this machine, as root: harness, comparison with stock, exit gate under trouble
	@[ "$$(id -u)" = 0 ] || { echo "make root: needs root, since it makes cgroups and containers. Without root: make unit" >&2; exit 1; }
	@$(call say,the shim on this machine)
	cd integration && $(GO) test -count=1 -timeout $(GUEST_TIME) ./workload/... ./shimtest/... ./differential/... ./fire/...

.PHONY: prepare
prepare: $(NODE) ## Install what the node VM needs, and build the VM
	@$(call say,node VM)
	$(NODE) prepare --flavour plain
	$(NODE) prepare --flavour systemd
	$(if $(FOREIGN),,$(NODE) prepare --flavour kube)

.PHONY: $(NODE)
$(NODE):
	@mkdir -p $(CACHE)/bin
	cd integration && $(GO) build -o ../$(NODE) ./cmd/node

.PHONY: cluster-programs
cluster-programs: $(NODE) ## Build etcd, API server and the rest for tests on this machine; minutes at the first time
	@$(call say,programs of a cluster)
	@$(NODE) cluster

.PHONY: api
api: cluster-programs $(HELM) ## Test the agent against a real API server on this machine: Events, marks, evictions, outages; API_AWAY=5m
	@$(call say,the agent and a real API server)
	cd integration && API_AWAY=$(API_AWAY) $(GO) test -count=1 -timeout 30m -skip '^TestDescheduler$$' ./controlplane ./agentapi ./plugin ./rollout

.PHONY: operators
operators: cluster-programs ## Test jobfailure in an operator of controller-runtime 0.22 and of the newest, against a real API server; minutes
	@$(call say,jobfailure in operators)
	for mod in go.mod newest.mod; do (cd jobfailure/operator && $(GO) test -count=1 -modfile=$$mod ./... && \
	  $(GO) build -modfile=$$mod -o ../../$(CACHE)/bin/operator-$$mod .) || exit 1; done
	cd integration && $(GO) test -count=1 -timeout 20m -v ./operator

# Chromium is Debian's package, axe-core an npm package. Without root or npm what is missing
# is not installed, and each test that needs it says so and is skipped.
PAGE := $(CACHE)/page
AXE  := $(PAGE)/node_modules/axe-core/axe.min.js
.PHONY: page
page: $(AXE) ## The agent's page in Chromium, light, dark and as on a phone, and for a screen reader; pictures in .cache/page
	@$(call say,the page in a browser)
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || { apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends chromium; }
	cd integration && $(GO) test -count=1 -timeout 20m -v -run '$(SCENARIO)' ./page | grep -v '^=== '

$(AXE): integration/page/package.json integration/page/package-lock.json
	@mkdir -p $(PAGE) && cp $^ $(PAGE)/
	@if command -v npm >/dev/null; then npm ci --prefix $(PAGE) --ignore-scripts --no-audit --no-fund && touch $@; fi

.PHONY: agent-storm
agent-storm: cluster-programs ## Test the agent in a thousand real kills over 200 pods, while the agent is killed too; root; AGENT_LIVES=50
	@[ "$$(id -u)" = 0 ] || { echo "make agent-storm: needs root, to load BPF programs and make cgroups" >&2; exit 1; }
	@$(call say,the agent in a storm)
	cd integration && AGENT_LIVES=$(AGENT_LIVES) $(GO) test -count=1 -timeout 30m -v ./agentstorm

.PHONY: agent-flood
agent-flood: cluster-programs ## 50 tenants flood the agent for MIN=10 minutes with kills, cgroups, pods and connections; root
	@[ "$$(id -u)" = 0 ] || { echo "make agent-flood: needs root, to load BPF programs and make cgroups" >&2; exit 1; }
	@$(call say,the agent in a flood of $(MIN) minutes)
	cd integration && AGENT_FLOOD=$$((60 * $(MIN))) $(GO) test -count=1 -timeout $$(($(MIN) + 20))m -run '^TestFlood$$' -v ./agentstorm
agent-flood: MIN = 10

.PHONY: agent-soak
agent-soak: cluster-programs ## Test that the agent does not grow: 250 pods that come, go and are killed, for MIN=30 minutes; root
	@[ "$$(id -u)" = 0 ] || { echo "make agent-soak: needs root, to load BPF programs and make cgroups" >&2; exit 1; }
	@$(call say,the agent in a soak of $(MIN) minutes)
	cd integration && AGENT_SOAK=$$((60 * $(MIN))) $(GO) test -count=1 -timeout $$(($(MIN) + 20))m -run '^TestSoak$$' -v ./agentstorm
MIN ?= 30

.PHONY: descheduler
descheduler: cluster-programs $(DESCHEDULER) ## Test that the stock descheduler evicts what the agent has marked; the first time takes minutes to build
	@$(call say,the agent and the stock descheduler)
	cd integration && $(GO) test -count=1 -timeout 30m -run '^TestDescheduler$$' -v ./agentapi

$(DESCHEDULER): integration/descheduler/go.mod
	@mkdir -p $(@D)
	cd integration/descheduler && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../$(DESCHEDULER) sigs.k8s.io/descheduler/cmd/descheduler

.PHONY: payload
payload: build $(NODE)
	@$(call say,what runs in the guest)
	@mkdir -p $(PAYLOAD)/bin $(PAYLOAD)/tests $(PAYLOAD)/rootfs/{proc,sys,dev,tmp}
	@cp $(BIN)/* $(PAYLOAD)/bin/
	$(if $(FOREIGN),$(NODE) prepare --flavour $(FLAVOUR))
	$(TARGET) $(STATIC) -o $(PAYLOAD)/bin/containerd-shim-oomwitness-faults-v2 $(SHIM:no_loader=no_loader,faultpoints)
	$(if $(FOREIGN),aarch64-linux-gnu-)gcc -static -pthread -O2 -Wall -Wextra -o $(PAYLOAD)/rootfs/workload integration/workload/*.c
	@cp $(PAYLOAD)/rootfs/workload $(PAYLOAD)/bin/oomwitness-workload
	cd integration && $(TARGET) CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../$(PAYLOAD)/bin/ ./cmd/mix $(if $(FOREIGN),,./cmd/cluster)
	for t in $(ROOT_TESTS); do $(TARGET) CGO_ENABLED=0 $(GO) test -c -o $(PAYLOAD)/tests/$$t.test ./$$t; done
	@cp integration/scenario/run.sh $(PAYLOAD)/tests/
	@cp integration/compat/run.sh $(PAYLOAD)/tests/compat-run.sh
	cd integration && for t in $(GUEST_TESTS); do $(TARGET) CGO_ENABLED=0 $(GO) test -c -o ../$(PAYLOAD)/tests/$$t.test ./$$t; done

.PHONY: guest
guest: payload ## Run tests in the guest of one FLAVOUR, on cgroup v2 with a real containerd
	@$(call say,guest tests: $(GUEST))
	@rm -rf $(CACHE)/figures/$(GUEST)
	$(call RUN,$(FLAVOUR),$(GUEST_TIME)) --out $(CACHE)/figures/$(GUEST) $(SUPERVISORS) \
	  $(foreach v,MIX_RUNS AT_ONCE LEAK_RUNS FAULT_RUNS FAULT_SEED CAUSALITY_RUNS CAUSALITY_SLOW NOKILL_RUNS,$(if $($(v)),--env $(v)=$($(v)))) \
	  -- sh /opt/oomwitness/tests/run.sh '$(SCENARIO)' '$(GUEST_SKIP_$(FLAVOUR))' $(TESTS_$(FLAVOUR))
	@cat $(CACHE)/figures/$(GUEST)/figures 2>/dev/null || true
GUEST_TIME ?= 35m
# Tests that are left out in one guest, since another place runs them. The plain guest leaves
# out those of "make root" that depend on no cgroup version (the protocol of the shim, the
# delivery of its events, bad input), and the rare cases of the OOM killer. The systemd guest
# leaves out the plain guest's tests of the ledger and of the node command, victims at each
# place of the tree of processes, and the faults by CRI that "make compat" has for each
# containerd. The full tests run everything in both guests.
SKIP_DELIVERY := TestContainerdRestarts|TestExitWithoutContainerd|TestShimDiesOnTheWay|TestEndpointFailsAtRandom|TestTheEndpointOfADeadShim|TestAnsweredLate|TestNeverAnswered|TestDelayed|TestDeletedAtOnce|TestDeleteInTheMoment|TestSubscriberOnly|TestOthersPass
SKIP_INPUT    := TestLoaderBeside|TestBadBundle|TestBadAnnotation|TestBadConfig|TestBadRuntime|TestNoSpec|TestReport
GUEST_SKIP_plain   ?= TestCausality|TestSupervisors|TestNoKill|TestEvictedEntry|TestCorners|TestTooManyEvents|TestGrowth|TestQueries|TestProtocols|TestCoreScheduling|TestGenericOptions|$(SKIP_DELIVERY)|$(SKIP_INPUT)
GUEST_SKIP_systemd ?= TestShapes|TestShells|TestRingFull|TestLoad|TestInstall|TestTrace|TestOptions|TestPIDReuse|TestExitCode|^TestFirstSight$$|^TestPolicy$$|TestShimKilled

# $(1) time, $(2) tests, $(3) more flags of the node
FAULTS = rm -rf $(CACHE)/figures/faults-$(FLAVOUR); status=0; \
	  $(call RUN,$(FLAVOUR),$(1)) --out $(CACHE)/figures/faults-$(FLAVOUR) \
	  $(foreach v,FAULT_RUNS FAULT_SEED FAULT_SHIM,$(if $($(v)),--env $(v)=$($(v)))) $(3) \
	  -- /opt/oomwitness/tests/faults.test -test.v -test.timeout 0 -test.run '$(2)' || status=$$?; \
	  cat $(CACHE)/figures/faults-$(FLAVOUR)/figures 2>/dev/null || true; exit $$status

.PHONY: faults
faults: payload $(CACHE)/containerd/2.3/containerd ## Test containers that end while containerd, bundle, clock or ledger fail; FAULT_RUNS=50, FAULT_SEED, FAULT_SHIM=stock
	@$(call say,fault suite: $(FLAVOUR))
	$(call FAULTS,$(FAULT_TIME),$(SCENARIO),--file $(CACHE)/containerd/2.3=containerd/2.3)
FAULT_TIME ?= 30m

.PHONY: soak
soak: payload ## Run containers at full speed for MIN minutes: nothing may grow, and the counts must agree
	@$(call say,soak: $(FLAVOUR), $(MIN) minutes)
	$(call FAULTS,$$(($(MIN)+15))m,TestSoak,--env SOAK_SECONDS=$$(($(MIN)*60)))
MIN ?= 10

# $(1) time, $(2) tests, $(3) name of the figures, $(4) more flags of the node,
# $(5) the programs of the tests
KUBE = rm -rf $(CACHE)/figures/$(3); status=0; \
	  $(call RUN,kube,$(1)) --append '$(strip node.driver=$(DRIVER) $(APPEND))' --out $(CACHE)/figures/$(3) \
	  $(foreach v,KUBE_RUNS KUBE_AT_ONCE KUBE_SEED KUBE_SHIM,$(if $($(v)),--env $(v)=$($(v)))) $(4) \
	  --env TEST_TIMEOUT=0 -- sh /opt/oomwitness/tests/run.sh '$(2)' '' $(5) || status=$$?; \
	  cat $(CACHE)/figures/$(3)/figures 2>/dev/null || true; exit $$status

.PHONY: kube
kube: FLAVOUR = kube
kube: payload ## Test pods of a real cluster, by its API; DRIVER=systemd|cgroupfs, KUBE_RUNS=50, KUBE_AT_ONCE=10, KUBE_SEED, KUBE_SHIM=stock
	@$(call say,tests by the real kubelet: $(DRIVER))
	@$(call KUBE,$(KUBE_TIME),$(SCENARIO),kube-$(DRIVER),$(SUPERVISORS),kube)
KUBE_TIME ?= 60m

.PHONY: kube-agent
kube-agent: FLAVOUR = kube
kube-agent: payload ## Test the agent's report of each cause on a node of a real cluster; AGENT_FULL=1 for the full counts, an hour
	@$(call say,the agent on a node of a cluster: $(DRIVER))
	@$(call KUBE,$(KUBE_TIME),$(SCENARIO),agent-$(DRIVER),$(SUPERVISORS) $(if $(AGENT_FULL),--env AGENT_FULL=1),agent)

.PHONY: kube-both
kube-both: FLAVOUR = kube
kube-both: payload ## Run the tests of kube and of kube-agent in one VM, which saves one start
	@$(call say,the real kubelet and the agent on its node: $(DRIVER))
	@$(call KUBE,$(KUBE_TIME),$(SCENARIO),both-$(DRIVER),$(SUPERVISORS) $(if $(AGENT_FULL),--env AGENT_FULL=1),kube agent)

.PHONY: kube-chart
kube-chart: FLAVOUR = kube
kube-chart: ARCHES = $(shell $(GO) env GOARCH)
kube-chart: $(NODE) $(HELM) build image ## Test the Helm chart on a real cluster: install, use, upgrade, a refused uninstall, uninstall
	@$(call say,the Helm chart on a cluster: $(DRIVER))
	@mkdir -p $(PAYLOAD)/tests
	cd integration && CGO_ENABLED=0 $(GO) test -c -o ../$(PAYLOAD)/tests/chart.test ./chart
	$(NODE) run --flavour kube --timeout $(KUBE_TIME) --append '$(strip node.driver=$(DRIVER) $(APPEND))' \
	  --file $(PAYLOAD)/tests/chart.test=tests/chart.test --file $(HELM)=bin/helm \
	  --file $(CACHE)/image/oomwitness.tar=.cache/image/oomwitness.tar --file runtime-class=runtime-class --file docs=docs \
	  --file bin/kubectl-oomwitness=bin/kubectl-oomwitness --file README.md=README.md \
	  -- /opt/oomwitness/tests/chart.test -test.v -test.timeout 0 -test.run '$(SCENARIO)'
DRIVER    ?= systemd

.PHONY: kube-reboot
kube-reboot: FLAVOUR = kube
kube-reboot: payload ## Run the tests of kube on a node that reboots on its disk
	@$(call say,a reboot of the node: $(DRIVER))
	@$(call KUBE,$(KUBE_TIME),^TestReboot$$,kube-reboot-$(DRIVER),--reboots --env KUBE_REBOOT=1,kube)

# The containerd versions in use. Each is a Go module, which is built again only if the
# module changes; 1.6 is the package of Debian 12.
OLD_CONTAINERDS := 1.7 2.0 2.1 2.2 2.3
.PHONY: containerds
containerds: $(OLD_CONTAINERDS:%=$(CACHE)/containerd/%/containerd)

OLD_BUILD = cd integration/containerd/$* && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../../$(@D)/
$(CACHE)/containerd/%/containerd: integration/containerd/%/go.mod integration/containerd/%/go.sum
	@$(call say,containerd $* with its ctr and stock shim: some minutes at the first time)
	@mkdir -p $(@D)
	$(OLD_BUILD) -tags no_grpc $$($(GO) list tool | grep shim)
	$(OLD_BUILD) $$($(GO) list tool | grep -v shim)
	@touch $@

$(CACHE)/containerd/1.6/containerd: | $(NODE)
	@mkdir -p $(@D)
	@from=$$($(NODE) debian-containerd) && cp "$$from"/{containerd-shim-runc-v2,ctr,containerd} $(@D)/

# The matrix of versions. Every guest has the newest containerd by default.
COMPAT_VERSIONS ?= 1.6 $(OLD_CONTAINERDS) 2.4
COMPAT_NODES    ?= machine plain systemd
COMPAT_RUNS     ?= 20
COMPAT_FAULT_RUNS ?= $(COMPAT_RUNS)
COMPAT_FAULTS   ?= TestFirstSight|TestPolicy|TestContainerdKilled/back-(0s|5s|30s)|TestShimKilled|TestShimAndContainerdKilled|TestContainerdUpgraded|TestContainerdDowngraded
COMPAT_SHORT    := TestFirstSight|TestPolicy|TestContainerdKilled/back-0s|TestShimKilled/signal/restarted-false|TestContainerdUpgraded
COMPAT_TIME     ?= 10h
COMPAT_OLD       = $(filter-out 2.4,$(COMPAT_VERSIONS))
COMPAT_FILES     = $(foreach v,$(COMPAT_OLD),$(CACHE)/containerd/$(v)=containerd/$(v))

.PHONY: compat
compat: ## Test each containerd of COMPAT_VERSIONS on COMPAT_NODES and print a table; COMPAT_RUNS, COMPAT_FAULT_RUNS of each case
	@$(MAKE) payload $(COMPAT_OLD:%=$(CACHE)/containerd/%/containerd)
	@status=0; for node in $(COMPAT_NODES); do $(MAKE) compat-$$node || status=$$?; done; \
	  (cd integration && $(GO) run ./cmd/compat $(COMPAT_NODES:%=../$(CACHE)/figures/compat-%/figures)) || status=$$?; exit $$status

COMPAT_RUN = sh /opt/oomwitness/tests/compat-run.sh '$(COMPAT_FAULTS)'

.PHONY: compat-machine
compat-machine:
	@[ "$$(id -u)" = 0 ] || { echo "make compat: needs root, since it makes mounts, cgroups and containers" >&2; exit 1; }
	@$(call say,containerd $(COMPAT_VERSIONS) on this machine)
	@rm -rf $(CACHE)/figures/compat-machine && mkdir -p $(CACHE)/figures/compat-machine
	COMPAT_RUNS='$(COMPAT_RUNS)' COMPAT_FAULT_RUNS='$(COMPAT_FAULT_RUNS)' COMPAT_VERSIONS='$(COMPAT_VERSIONS)' timeout -k 30 $(COMPAT_TIME) integration/compat/machine.sh "$$($(NODE) tools)" $(CACHE)/figures/compat-machine \
	  $(PAYLOAD)/bin=bin $(PAYLOAD)/tests=tests $(PAYLOAD)/rootfs=rootfs $(COMPAT_FILES) -- $(COMPAT_RUN)

.PHONY: compat-plain compat-systemd
compat-plain compat-systemd: compat-%:
	@$(call say,containerd $(COMPAT_VERSIONS) in the guest: $*)
	@rm -rf $(CACHE)/figures/compat-$*
	$(call RUN,$*,$(COMPAT_TIME)) --out $(CACHE)/figures/compat-$* $(COMPAT_FILES:%=--file %) \
	  --env COMPAT_RUNS='$(COMPAT_RUNS)' --env COMPAT_FAULT_RUNS='$(COMPAT_FAULT_RUNS)' --env COMPAT_VERSIONS='$(COMPAT_VERSIONS)' -- $(COMPAT_RUN)

.PHONY: configs
configs: containerds $(CACHE)/containerd/1.6/containerd $(CACHE)/containerd/2.4/containerd ## Test install with each containerd's own program, over the ways to configure containerd; root; two minutes
	@[ "$$(id -u)" = 0 ] || { echo "make configs: needs root, to start containerd" >&2; exit 1; }
	@$(call say,the registration with each containerd)
	cd integration && $(GO) test -count=1 -timeout 60m -v ./configs | awk '/result=|FAIL|Error|panic|^ok/'

.PHONY: nodes
nodes: containerds $(CACHE)/containerd/1.6/containerd $(CACHE)/containerd/2.4/containerd ## install on nodes as each distribution lays them out, with a real containerd; root; NODE_KILLS=34 for the full count of kills, NODE_SEED for the same moments
	@[ "$$(id -u)" = 0 ] || { echo "make nodes: needs root, for namespaces and mounts" >&2; exit 1; }
	@$(call say,the nodes of each distribution)
	CONTAINERDS=$(CURDIR)/$(CACHE)/containerd $(GO) test -count=1 -timeout 60m -v -run 'TestNodes|TestKills|TestFullDisk|TestOtherContainerds|TestOddFiles|TestSnippetOnEKS' ./cmd/oomwitness/internal/install | awk '/node=|NODE_SEED|FAIL|Error|panic|^ok/'

$(CACHE)/containerd/2.4/containerd: integration/go.mod
	@mkdir -p $(@D)
	cd integration && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../$(@D)/ github.com/containerd/containerd/v2/cmd/containerd
	@touch $@

# The programs of "make docker": the newest dockerd that can be built from its module,
# containerd 2.2 with its stock shim, and Debian 12's Docker with its containerd. runc is the
# guest's, since Docker's containers need a runc with seccomp.
DOCKER := $(CACHE)/docker
.PHONY: docker-programs
docker-programs: $(NODE) $(DOCKER)/29/dockerd $(CACHE)/containerd/2.2/containerd
	@ln -sfn ../containerd/2.2 $(DOCKER)/containerd-2.2
	@ln -sfn "$$(realpath "$$($(NODE) debian-docker)")" $(DOCKER)/20.10

$(DOCKER)/29/dockerd: integration/docker/dockerd/go.mod integration/docker/dockerd/go.sum
	@$(call say,dockerd: some minutes at the first time)
	@mkdir -p $(@D)
	cd integration/docker/dockerd && version=29.0-$$($(GO) list -m -f '{{.Version}}' github.com/moby/moby/v2) && \
	  CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X github.com/moby/moby/v2/dockerversion.Version=$$version" \
	    -o ../../../$(@D)/ github.com/moby/moby/v2/cmd/dockerd
	@touch $@

.PHONY: docker
docker: build docker-programs ## Test containers by real dockerds, 29 and 20.10, with inspect and events; root; DOCKER_RUNS=20, DOCKER_SHIM=stock
	@[ "$$(id -u)" = 0 ] || { echo "make docker: needs root, to start containerd and dockerd" >&2; exit 1; }
	@$(call say,Docker: $(DOCKER_RUNS) containers of each case)
	@runc=$$(realpath "$$($(NODE) tools)")/runc; \
	  cd integration && RUNC=$$runc DOCKER_PROGRAMS=$(CURDIR)/$(DOCKER) DOCKER_RUNS=$(DOCKER_RUNS) DOCKER_SHIM=$(DOCKER_SHIM) \
	  OOMWITNESS_SHIM=$(CURDIR)/bin/containerd-shim-oomwitness-v2 OOMWITNESS_COMMAND=$(CURDIR)/bin/oomwitness \
	  $(GO) test -count=1 -timeout 1h -v -run '$(SCENARIO)' ./docker 2>&1 | tee ../$(DOCKER)/log | grep --line-buffered '^docker=' || \
	  { grep -v '^docker=' ../$(DOCKER)/log; exit 1; }
DOCKER_RUNS ?= 2

# Programs for later tests are built at the lowest priority while the guest runs the first
# tests: a guest takes less than one of two CPUs. A later "make programs" waits at the lock
# for this build, and then finds everything built.
.PHONY: programs
programs: $(NODE)
	@mkdir -p $(CACHE)
	@flock $(CACHE)/programs.lock $(MAKE) programs-now
.PHONY: programs-now
programs-now: containerds $(CACHE)/containerd/1.6/containerd $(CACHE)/containerd/2.4/containerd docker-programs cluster-programs $(HELM)
	@$(LINTER) --version

.PHONY: test
test: unit root $(NODE) ## Run all tests: unit, root, in the guest of both flavours, and some by the real kubelet
	@$(NODE) prepare --flavour plain
	@nice -n 19 $(MAKE) programs >$(CACHE)/programs.log 2>&1 &
	@$(MAKE) guest FLAVOUR=plain
	@$(MAKE) guest FLAVOUR=systemd
	@$(MAKE) programs
	@$(MAKE) compat COMPAT_NODES=machine COMPAT_RUNS=1 COMPAT_FAULTS='$(COMPAT_SHORT)' COMPAT_TIME=20m
	@$(MAKE) configs
	@$(MAKE) nodes
	@$(MAKE) docker SCENARIO=. DOCKER_RUNS=1
	@$(MAKE) kube-both SCENARIO='$(KUBE_SHORT)|$(AGENT_SHORT)'
	@$(MAKE) api
	@$(MAKE) page SCENARIO='$(PAGE_SHORT)'
# What needs no seconds of axe-core for a thousand events.
PAGE_SHORT ?= TestForms/(light|phone)-[01]$$|TestTierC|TestRefresh|TestSuggestions
# Causes that need neither the memory of the whole node nor a limit of kubelet.
AGENT_SHORT ?= TestCauses/(container|pod)|TestOutside|TestKinds
KUBE_SHORT ?= TestOOMKilledAtFirstSight|TestOOMExitCode|TestBadAnnotation

.PHONY: test-full
test-full: export MIX_RUNS = 500
test-full: export AT_ONCE = 100
test-full: export LEAK_RUNS = 1000
test-full: export CAUSALITY_RUNS = 20
test-full: export CAUSALITY_SLOW = 1
test-full: export NOKILL_RUNS = 2000
test-full: export GUEST_TIME = 90m
test-full: export TESTS_plain = oom scenario differential fire
test-full: export GUEST_SKIP_plain =
test-full: export GUEST_SKIP_systemd =
test-full: export FAULT_RUNS = 50
test-full: export NODE_KILLS = 34
test-full: export FAULT_TIME = 10h
test-full: export KUBE_RUNS = 50
test-full: export KUBE_AT_ONCE = 10
test-full: export KUBE_TIME = 10h
test-full: export KUBE_SHORT = .
test-full: export AGENT_SHORT = .
test-full: export PAGE_SHORT = .
test-full: export AGENT_FULL = 1
test-full: ## Run all tests with the full counts; takes hours
	@$(MAKE) test MEMORY=6144
	@$(MAKE) ledger
	@$(MAKE) faults FLAVOUR=plain
	@$(MAKE) faults FLAVOUR=systemd
	@$(MAKE) compat
	@$(MAKE) kube-chart
	@$(MAKE) test-arm64-short
	@$(MAKE) release-test
	@$(MAKE) operators
	@$(MAKE) site
	@$(MAKE) kube DRIVER=cgroupfs
	@$(MAKE) kube-reboot
	@$(MAKE) api API_AWAY=5m
	@$(MAKE) descheduler
	@$(MAKE) agent-storm AGENT_LIVES=50
	@$(MAKE) agent-soak
	@$(MAKE) agent-flood
	@$(MAKE) kube-agent DRIVER=cgroupfs

.PHONY: test-arm64
test-arm64: export ARCH = arm64
test-arm64: export GUEST_TIME = 3h
test-arm64: ## Run the scenarios of both flavours and the ledger on an emulated arm64; MIX_RUNS=200 for the full count
	@$(MAKE) guest FLAVOUR=plain
	@$(MAKE) guest FLAVOUR=systemd
	@$(MAKE) kernels LEDGER_KERNELS=6.1,6.12

.PHONY: test-arm64-short
test-arm64-short: export ARCH = arm64
test-arm64-short: ## The part of test-arm64 that takes minutes: each scenario once on cgroupfs
	@$(MAKE) guest FLAVOUR=plain TESTS_plain=scenario SCENARIO='$(ARM64_SHORT)'
ARM64_SHORT ?= TestScenario

.PHONY: demo
demo: payload ## Run stock runc and oomwitness side by side in a node VM, and print a table; MATRIX=1 for each containerd
	@$(call say,the same workloads under both shims: a few minutes at the first time)
	$(call RUN,$(DEMO_FLAVOUR),10m) -- mix demo --parallel 3
	$(if $(MATRIX),@$(MAKE) compat COMPAT_NODES=$(DEMO_FLAVOUR) COMPAT_RUNS=1 COMPAT_FAULTS=)
# Most nodes of Kubernetes run systemd, under which the stock shim loses most OOMs.
DEMO_FLAVOUR = $(if $(filter command environment,$(firstword $(origin FLAVOUR))),$(FLAVOUR),systemd)

.PHONY: compare
compare: payload ## Count what both shims report, over N runs of each case
	$(call RUN,$(FLAVOUR),8h) -- mix compare --n $(N)

.PHONY: shell
shell: payload ## Open a shell in the guest; containerd runs, and our shim is on PATH
	$(NODE) shell --flavour $(FLAVOUR) --file $(PAYLOAD)/bin=bin --file $(PAYLOAD)/rootfs=rootfs

.PHONY: cluster
cluster: FLAVOUR = kube
cluster: payload ## Open a shell in the guest with kubectl, a cluster of one node and the RuntimeClass oomwitness; DRIVER=systemd|cgroupfs
	$(NODE) shell --flavour kube --append '$(strip node.driver=$(DRIVER) $(APPEND))' \
	  --file $(PAYLOAD)/bin=bin --file $(PAYLOAD)/rootfs=rootfs --first cluster

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZTIME
	@grep -rn --include='*_test.go' -o 'func Fuzz[A-Za-z0-9]*' oom bpf shim why cmd jobfailure agent | while IFS=: read -r file _ f; do \
	  (cd "$$(dirname "$$file")" && $(GO) test . -run '^$$' -fuzz "^$${f#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 50x) || exit 1; done

# gremlins copies the module: this package is made a module of its own. The explorer runs
# last, since most mutants fail in a quick test.
.PHONY: mutants
mutants: ## Change each condition of shim/internal/exit in turn: a test must fail; eight minutes
	@$(call say,mutants of shim/internal/exit)
	@rm -rf $(CACHE)/mutants && mkdir -p $(CACHE)/mutants && cp shim/internal/exit/*.go go.sum $(CACHE)/mutants/
	@mv $(CACHE)/mutants/explore_test.go $(CACHE)/mutants/z_explore_test.go
	@sed 's,^module .*,module exit,' go.mod > $(CACHE)/mutants/go.mod
	@$(GO) build -modfile=.ci/gremlins/go.mod -o $(CACHE)/gremlins github.com/go-gremlins/gremlins/cmd/gremlins
	cd $(CACHE)/mutants && ../gremlins unleash --workers 1 --timeout-coefficient 4 --invert-logical . | grep -v KILLED

.PHONY: generate
generate: ## Generate BPF objects and bindings again, with the pinned clang-14
	@command -v clang-14 llvm-strip-14 >/dev/null || { echo "make generate: needs clang-14 and llvm-14: apt-get install clang-14 llvm-14" >&2; exit 1; }
	$(GO) generate ./bpf

# The modules that modfile.sh puts in the place of others import one another: the linter reads
# them in a workspace.
STANDINS := $(patsubst %/go.mod,%,$(wildcard cmd/containerd-shim-oomwitness-v2/*/go.mod cmd/containerd-shim-oomwitness-v2/*/*/go.mod))
$(CACHE)/lint.work: $(CACHE)/shim.mod $(STANDINS:%=%/go.mod)
	@{ echo "go $$($(GO) list -m -f '{{.GoVersion}}')"; printf 'use $(CURDIR)/%s\n' . $(STANDINS); \
	  sed -n '/^replace upstream.invalid/p' $<; } >$@

.PHONY: lint
lint: $(CACHE)/lint.work ## Run gofmt, go vet, golangci-lint, and actionlint on the workflows
	@$(call say,lint)
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted: $$files" >&2; exit 1; }
	$(GO) vet ./...
	cd integration && $(GO) vet ./...
	cd jobfailure && $(GO) vet ./... && $(LINTER) run --config ../.golangci.yml ./...
	cd jobfailure/operator && $(GO) vet ./... && $(LINTER) run --config ../../.golangci.yml ./...
	$(LINTER) run ./...
	cd integration && $(LINTER) run --config ../.golangci.yml ./...
	@linter=$$($(LINTER) version --short >/dev/null && $(GO) tool -modfile=.ci/lint/go.mod -n golangci-lint) && for dir in $(STANDINS); do \
	  (echo "cd $$dir && golangci-lint run ./..." && cd $$dir && GOWORK=$(CURDIR)/$(CACHE)/lint.work "$$linter" run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done
	$(GO) tool -modfile=.ci/actionlint/go.mod actionlint
	@! grep -Hn 'uses:' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9.]+$$' || { echo "an action of a workflow has to be named by its commit" >&2; exit 1; }
LINTER := $(GO) tool -modfile=$(CURDIR)/.ci/lint/go.mod golangci-lint

# vale reads the pages, and each help text as Markdown. The tests compare the pages with
# the code, and look for old words in all other files.
.PHONY: prose
prose: ## Check the sentences of README, docs/ and help texts; compare links, commands, flags, names and words with the code
	@$(call say,prose)
	@$(VALE) README.md CONTRIBUTING.md docs
	cd integration && VALE="$(VALE)" READER_SENTENCES=100000 $(GO) test -count=1 ./documents
.PHONY: reader
reader: ## SENTENCES=20 sentences of README and docs/ at random, for a reader, and what is wrong with each; SEED repeats a draw
	@cd integration && READER_SENTENCES=$(SENTENCES) READER_SEED=$(SEED) $(GO) test -count=1 -v -run '^TestReader$$' ./documents
SENTENCES ?= 20
VALE := $(GO) tool -modfile=$(CURDIR)/.ci/vale/go.mod vale

.PHONY: site
site: ## Build the pages as a site in .cache/site, and test its links; the first time takes minutes to build hugo
	@$(call say,the site: $(CACHE)/site)
	@rm -rf $(CACHE)/site
	CGO_ENABLED=0 $(GO) tool -modfile=.ci/hugo/go.mod hugo build --noBuildLock --source site --destination ../$(CACHE)/site
	cd integration && SITE=$(CURDIR)/$(CACHE)/site $(GO) test -count=1 -run '^TestSite$$' ./documents

.PHONY: clean
clean: ## Remove what was built and downloaded
	rm -rf bin $(CACHE)
