package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// agentFlags are the agent's.
type agentFlags struct {
	pins
	stateDir, address   string
	kubelet             kubeletFlags
	logLevel, logFormat string
	memoryLimit         string

	kubernetes, kubeconfig, nodeName string
	qps                              float32
	burst                            int
	annotation, label                string
	markCauses                       []string
	evict, dryRun                    bool
	evictEvery                       time.Duration

	metricsAddress, healthAddress string
	otlpEndpoint                  string
	page, pageAll                 bool
	seriesTTL                     time.Duration
	maxSeries                     int
}

const (
	defaultStateDir = "/var/lib/oomwitness/agent"
	auto            = "auto"
	// Where the metrics are by --metrics-address auto.
	metricsInCluster = ":8080"
	metricsOnNode    = "127.0.0.1:8080"
	// defaultMemoryLimit leaves room below 30 MiB for what Go does not count.
	defaultMemoryLimit = "23Mi"
	nodeNameEnv        = "NODE_NAME"
)

func (f *agentFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.stateDir, "state-dir", defaultStateDir, "directory of the journal and of the cgroups of the node, made if need be")
	flags.StringVar(&f.address, "address", containerd.DefaultAddress, "containerd's socket, for names; empty to do without")
	f.kubelet.add(flags)
	flags.StringVar(&f.logLevel, "log-level", "info", "least level of the log: debug, info, warning or error; OOM kills are warnings")
	flags.StringVar(&f.logFormat, "log-format", auto, "json, text, or auto: text on a terminal, else json")
	flags.StringVar(&f.memoryLimit, "memory-limit", defaultMemoryLimit, "Go's soft memory limit (GOMEMLIMIT), a quantity such as 20Mi, below the cgroup's; 0 for none")

	flags.StringVar(&f.kubernetes, "kubernetes", auto, "true, false, or auto: true with --kubeconfig or a service account")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default: as a pod of the cluster)")
	flags.StringVar(&f.nodeName, "node-name", "", "this node's name in Kubernetes (default: $"+nodeNameEnv+"); needed there")
	flags.Float32Var(&f.qps, "kube-api-qps", agent.DefaultQPS, "requests to the API server in a second")
	flags.IntVar(&f.burst, "kube-api-burst", agent.DefaultBurst, "requests to the API server at once")
	flags.StringVar(&f.annotation, "victim-annotation", "", "annotation key=value that marks the victim's pod; empty for none")
	flags.StringVar(&f.label, "victim-label", "", "label key=value that marks the victim's pod, for a descheduler's selector; empty for none")
	flags.StringSliceVar(&f.markCauses, "mark-causes", []string{"node", "pod", "ancestor"}, "mark and evict the pods of victims with these causes, separated by commas")
	flags.BoolVar(&f.evict, "evict", false, "evict the victim's pod, if disruption budgets allow")
	whycli.DurationVar(flags, &f.evictEvery, "evict-every", agent.DefaultEvictEvery, "least time between two evictions")
	flags.BoolVar(&f.dryRun, "dry-run", false, "log the Events, marks and evictions, and make none")

	flags.StringVar(&f.metricsAddress, "metrics-address", auto,
		"address of metrics, API and page; auto: "+metricsInCluster+" in Kubernetes, else "+metricsOnNode+"; empty for none")
	flags.StringVar(&f.healthAddress, "health-address", "",
		"address of /healthz and /readyz alone, for probes, such as :8081; empty for none")
	flags.StringVar(&f.otlpEndpoint, "otlp-endpoint", "",
		"URL of an OpenTelemetry collector, such as http://collector:4318, which gets OOM kills and ends of containers as log records (default: $OTEL_EXPORTER_OTLP_ENDPOINT; without both, none)")
	flags.BoolVar(&f.page, "page", true, "serve the page and the API beside the metrics")
	flags.BoolVar(&f.pageAll, "page-all", false, "show the node's processes and paths on page and API")
	whycli.DurationVar(flags, &f.seriesTTL, "series-ttl", agent.DefaultSeriesTTL, "how long a container's series of the metrics is kept after its last kill")
	flags.IntVar(&f.maxSeries, "max-series", agent.DefaultMaxSeries, "containers with a series of their own in the metrics; more containers are counted together")
	f.addTo(flags)
}

// check refuses what can't be meant, all of it at once.
func (f *agentFlags) check() error {
	errs := []error{f.pins.check(), absolute("state-dir", f.stateDir)}
	if f.address != "" {
		errs = append(errs, absolute("address", f.address))
	}
	if _, err := f.level(); err != nil {
		errs = append(errs, err)
	}
	for flag, value := range map[string]string{"metrics-address": f.listenAddress(), "health-address": f.healthAddress} {
		if value != "" {
			errs = append(errs, hostPort(flag, value, metricsOnNode))
		}
	}
	errs = append(errs, f.kubelet.check(), checkKubeconfig(f.kubeconfig),
		whycli.OneOf("log-format", f.logFormat, auto, "json", "text"),
		whycli.OneOf("kubernetes", f.kubernetes, auto, "true", "false"))
	for _, cause := range f.markCauses {
		errs = append(errs, whycli.OneOf("mark-causes", cause, agent.CauseNames()...))
	}
	if _, err := f.memoryBytes(); err != nil {
		errs = append(errs, err)
	}
	if _, err := agent.OTLPEndpoint(f.otlpEndpoint); err != nil {
		errs = append(errs, err)
	}
	if !(f.qps > 0 && f.qps <= math.MaxFloat32) || f.burst <= 0 { // NaN is not above 0
		errs = append(errs, fmt.Errorf("--kube-api-qps %v, --kube-api-burst %d: have to be above 0", f.qps, f.burst))
	}
	if marks := f.evict || f.annotation != "" || f.label != ""; marks && !f.wantsKubernetes() {
		errs = append(errs, errors.New("--evict, --victim-annotation, --victim-label: need an API server: use --kubernetes=true or --kubeconfig"))
	}
	if f.evictEvery <= 0 {
		errs = append(errs, fmt.Errorf("--evict-every %v: has to be above 0", f.evictEvery))
	}
	if f.seriesTTL <= 0 || f.maxSeries <= 0 {
		errs = append(errs, fmt.Errorf("--series-ttl %v, --max-series %d: have to be above 0", f.seriesTTL, f.maxSeries))
	}
	return errors.Join(append(errs, flagError("victim-annotation", agent.CheckAnnotation(f.annotation)),
		flagError("victim-label", agent.CheckLabel(f.label)))...)
}

func (f *agentFlags) level() (logrus.Level, error) {
	level, err := logrus.ParseLevel(f.logLevel)
	if err != nil || level < logrus.ErrorLevel || level > logrus.DebugLevel {
		return level, fmt.Errorf("--log-level %q: allowed are debug, info, warning and error", f.logLevel)
	}
	return level, nil
}

// leastMemory is the least limit that can be meant: 23m are 23 thousandths of a byte.
const leastMemory = 1 << 20

func (f *agentFlags) memoryBytes() (int64, error) {
	q, err := resource.ParseQuantity(f.memoryLimit)
	if err != nil || !q.IsZero() && q.CmpInt64(leastMemory) < 0 {
		return 0, fmt.Errorf("--memory-limit %q: has to be a quantity of bytes, such as 20Mi, of 1Mi at least, or 0 for none", f.memoryLimit)
	}
	return q.Value(), nil
}

// node is the node's name.
func (f *agentFlags) node() (string, error) {
	name := f.nodeName
	if name == "" {
		name = os.Getenv(nodeNameEnv)
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return "", fmt.Errorf("--node-name or $%s %q: has to be this node's name in Kubernetes: %s", nodeNameEnv, name, problems[0])
	}
	return name, nil
}

// logger writes to where the command's errors go.
func (f *agentFlags) logger(to io.Writer) (*logrus.Logger, error) {
	level, err := f.level()
	if err != nil {
		return nil, err
	}
	log := logrus.New()
	log.SetLevel(level)
	log.SetOutput(to)
	file, ok := to.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	if f.logFormat == "json" || f.logFormat == auto && !terminal {
		log.SetFormatter(&logrus.JSONFormatter{})
	}
	return log, nil
}

// wantsKubernetes reports whether to talk to an API server.
func (f *agentFlags) wantsKubernetes() bool {
	if f.kubernetes == auto {
		return f.kubeconfig != "" || os.Getenv("KUBERNETES_SERVICE_HOST") != ""
	}
	return f.kubernetes == "true"
}

// listenAddress is where the metrics are, "" for nowhere.
func (f *agentFlags) listenAddress() string {
	switch {
	case f.metricsAddress != auto:
		return f.metricsAddress
	case f.wantsKubernetes():
		return metricsInCluster
	default:
		return metricsOnNode
	}
}

// flagError names the flag that an error is of.
func flagError(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, err)
}
