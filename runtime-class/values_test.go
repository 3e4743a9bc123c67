package runtimeclass

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// change is another value than the default, and a line that the chart has with it
// and has not without.
type change struct {
	value, want string
	// with are further values that it needs to be seen.
	with map[string]string
}

// agent is a change of what the agent's DaemonSet has.
func agent(value, want string) change {
	return change{value: value, want: want, with: map[string]string{"agent.enabled": "true"}}
}

// part is a change of what the agent has where this part of it is made.
func part(name, value, want string) change {
	return change{value: value, want: want, with: map[string]string{"agent.enabled": "true", "agent." + name + ".create": "true"}}
}

var changes = map[string]change{
	"image.repository": {value: `"example.org/x"`, want: "image: example.org/x:0.1.0"},
	"image.tag":        {value: `"9"`, want: "image: localhost/oomwitness:9"},
	"image.digest": {
		value: `"sha256:` + strings.Repeat("a", 64) + `"`,
		want:  "image: localhost/oomwitness@sha256:" + strings.Repeat("a", 64),
	},
	"image.pullPolicy":            {value: `"Always"`, want: "imagePullPolicy: Always"},
	"imagePullSecrets":            {value: `[{"name":"s3cret"}]`, want: "- name: s3cret"},
	"handler":                     {value: `"other"`, want: "- --runtime-name=other"},
	"settings":                    {value: `{"report":"live","grace":"4s"}`, want: `config.toml: "grace = \"4s\"\nreport = \"live\"\n"`},
	"nameOverride":                {value: `"other"`, want: "app.kubernetes.io/name: other"},
	"fullnameOverride":            {value: `"full"`, want: "name: full-settings", with: map[string]string{"settings": `{"report":"live"}`}},
	"commonLabels":                {value: `{"app.kubernetes.io/part-of":"blue"}`, want: "app.kubernetes.io/part-of: blue"},
	"shim.enabled":                {value: `false`, want: "- ledger"},
	"node.startupTaint":           {value: `"example.org/wait"`, want: "- --startup-taint=example.org/wait"},
	"daemonSet.atOnce":            {value: `7`, want: "- --at-once=7"},
	"daemonSet.unsupported":       {value: `"fail"`, want: "- --unsupported=fail"},
	"node.writable":               {value: `["/var/lib/x"]`, want: "- {name: host-2, mountPath: /host/var/lib/x}"},
	"daemonSet.extraArgs":         {value: `["--x=1, 2"]`, want: `- "--x=1, 2"`},
	"daemonSet.extraEnv":          {value: `[{"name":"GODEBUG","value":"x"}]`, want: "- name: GODEBUG"},
	"resourceQuota.create":        {value: `true`, want: "kind: ResourceQuota"},
	"resourceQuota.pods":          {value: `"9"`, want: `pods: "9"`, with: map[string]string{"resourceQuota.create": "true"}},
	"runtimeClass.create":         {value: `false`},
	"runtimeClass.name":           {value: `"other"`, want: "name: other"},
	"runtimeClass.overhead":       {value: `{"memory":"99Mi"}`, want: "memory: 99Mi"},
	"runtimeClass.tolerations":    {value: `[{"key":"gpu"}]`, want: "- key: gpu"},
	"node.label":                  {value: `"example.org/l"`, want: `example.org/l: "true"`},
	"node.binDir":                 {value: `"/opt/bin"`, want: "- --bin-dir=/opt/bin"},
	"node.confDir":                {value: `"/etc/c.d"`, want: "- --conf-dir=/etc/c.d"},
	"node.containerdConfig":       {value: `"/etc/c.toml"`, want: "- --containerd-config=/etc/c.toml"},
	"node.editConfig":             {value: `true`, want: "- --edit-config=true"},
	"node.containerdSocket":       {value: `"/run/c.sock"`, want: "- --address=/run/c.sock"},
	"node.containerdUnit":         {value: `"k3s.service"`, want: "- --containerd-unit=k3s.service"},
	"node.restart":                {value: `"none"`, want: "- --restart=none"},
	"node.systemdCgroup":          {value: `"true"`, want: "- --systemd-cgroup=true"},
	"node.timeout":                {value: `"9m"`, want: "- --timeout=9m"},
	"node.seLinuxOptions":         {value: `{"type":"spc_t"}`, want: "type: spc_t"},
	"api.host":                    {value: `"10.0.0.1"`, want: `- {name: KUBERNETES_SERVICE_HOST, value: "10.0.0.1"}`},
	"api.port":                    {value: `"6443"`, want: `- {name: KUBERNETES_SERVICE_PORT, value: "6443"}`},
	"hostNetwork":                 {value: `true`, want: "hostNetwork: true"},
	"daemonSet.nodeSelector":      {value: `{"pool":"a"}`, want: "pool: a"},
	"daemonSet.affinity":          {value: `{"nodeAffinity":{}}`, want: "nodeAffinity: {}"},
	"daemonSet.tolerations":       {value: `[{"key":"only"}]`, want: "- key: only"},
	"daemonSet.priorityClassName": {value: `"low"`, want: `priorityClassName: "low"`},
	"daemonSet.maxUnavailable":    {value: `3`, want: "maxUnavailable: 3"},
	"daemonSet.podAnnotations":    {value: `{"a":"b"}`, want: "a: b"},
	"daemonSet.podLabels":         {value: `{"c":"d"}`, want: "c: d"},
	"daemonSet.setupResources":    {value: `{"limits":{"memory":"77Mi"}}`, want: "memory: 77Mi"},
	"daemonSet.resources":         {value: `{"limits":{"memory":"78Mi"}}`, want: "memory: 78Mi"},
	"agent.enabled":               {value: `true`, want: "- agent"},
	"agent.logLevel":              agent(`"debug"`, "- --log-level=debug"),
	"agent.kubeletCgroupRoots":    agent(`["/a","/b"]`, "- --kubelet-cgroup-root=/a,/b"),
	"agent.port":                  agent(`9100`, "- --metrics-address=:9100"),
	"agent.healthPort":            agent(`9101`, "- --health-address=:9101"),
	"agent.networkPolicy.create":  agent(`true`, "kind: NetworkPolicy"),
	"agent.networkPolicy.from": {
		value: `[{"podSelector":{"matchLabels":{"app":"prometheus"}}}]`, want: "app: prometheus",
		with: map[string]string{"agent.enabled": "true", "agent.networkPolicy.create": "true"},
	},
	"agent.page":               agent(`false`, "- --page=false"),
	"agent.pageAll":            agent(`true`, "- --page-all=true"),
	"agent.otlp.endpoint":      agent(`"http://c:4318"`, "- --otlp-endpoint=http://c:4318"),
	"agent.otlp.headersSecret": agent(`"heads"`, "valueFrom: {secretKeyRef: {name: heads, key: headers}}"),
	"agent.otlp.caSecret":      agent(`"trust"`, "- {name: OTEL_EXPORTER_OTLP_CERTIFICATE, value: /etc/oomwitness/otlp/ca.crt}"),
	"agent.seriesTTL":          agent(`"3h"`, "- --series-ttl=3h"),
	"agent.maxSeries":          agent(`7`, "- --max-series=7"),
	"agent.mark.annotation":    agent(`"example.org/a=b"`, "- --victim-annotation=example.org/a=b"),
	"agent.mark.label":         agent(`"example.org/l=m"`, "- --victim-label=example.org/l=m"),
	"agent.mark.causes":        agent(`["node","pod"]`, "- --mark-causes=node,pod"),
	"agent.evict":              agent(`true`, "- --evict=true"),
	"agent.evictEvery":         agent(`"5m"`, "- --evict-every=5m"),
	"agent.dryRun":             agent(`true`, "- --dry-run=true"),
	"agent.api.qps":            agent(`2.5`, "- --kube-api-qps=2.5"),
	"agent.api.burst":          agent(`9`, "- --kube-api-burst=9"),
	"agent.memoryLimit":        agent(`"21Mi"`, "- --memory-limit=21Mi"),
	"agent.resources":          agent(`{"limits":{"memory":"99Mi"}}`, "memory: 99Mi"),
	"agent.podAnnotations":     agent(`{"g":"h"}`, "g: h"),
	"agent.serviceAccountName": agent(`"its"`, "serviceAccountName: its"),
	"agent.podLabels":          agent(`{"i":"j"}`, "i: j"),
	"agent.extraArgs":          agent(`["--log-level=debug"]`, `- "--log-level=debug"`),
	"agent.extraEnv":           agent(`[{"name":"GOTRACEBACK","value":"all"}]`, "- name: GOTRACEBACK"),
	"agent.priorityClassName":  agent(`"low"`, `priorityClassName: "low"`),
	"agent.nodeSelector":       agent(`{"pool":"c"}`, "pool: c"),
	"agent.affinity":           agent(`{"nodeAffinity":{}}`, "nodeAffinity: {}"),
	"agent.tolerations":        agent(`[{"key":"mine"}]`, "- key: mine"),
	"agent.maxUnavailable":     agent(`7`, "maxUnavailable: 7"),
	"agent.containerdSocket":   agent(`"/run/d.sock"`, "- --address=/run/d.sock"),
	"agent.podMonitor.create":  agent(`true`, "kind: PodMonitor"),
	"agent.service.create":     agent(`true`, "kind: Service"),
	"agent.service.annotations": {
		value: `{"prometheus.io/scrape":"true"}`, want: `prometheus.io/scrape: "true"`,
		with: map[string]string{"agent.enabled": "true", "agent.service.create": "true"},
	},
	"agent.serviceMonitor.create":   agent(`true`, "kind: ServiceMonitor"),
	"agent.serviceMonitor.interval": part("serviceMonitor", `"8s"`, "interval: 8s"),
	"agent.serviceMonitor.labels":   part("serviceMonitor", `{"team":"z"}`, "team: z"),
	"agent.prometheusRule.create":   agent(`true`, "kind: PrometheusRule"),
	"agent.prometheusRule.alerts":   {value: `false`, with: map[string]string{"agent.enabled": "true", "agent.prometheusRule.create": "true"}},
	"agent.prometheusRule.labels":   part("prometheusRule", `{"role":"alerts"}`, "role: alerts"),
	"agent.dashboard.create":        agent(`true`, `grafana_dashboard: "1"`),
	"agent.dashboard.labels":        part("dashboard", `{"found":"here"}`, "found: here"),
	"agent.dashboard.annotations":   part("dashboard", `{"grafana_folder":"OOM"}`, "grafana_folder: OOM"),
	"agent.dashboard.namespace":     part("dashboard", `"grafana"`, "namespace: grafana"),
	"agent.podMonitor.interval":     part("podMonitor", `"7s"`, "interval: 7s"),
	"agent.podMonitor.labels":       part("podMonitor", `{"team":"x"}`, "team: x"),
	"serviceAccount.create":         {value: `false`},
	"serviceAccount.name":           {value: `"me"`, want: "serviceAccountName: me"},
	"serviceAccount.annotations":    {value: `{"e":"f"}`, want: "e: f"},
	"rbac.create":                   {value: `false`},
	"admissionPolicy.create":        {value: `false`},
	"uninstall.enabled":             {value: `false`},
	"uninstall.drain":               {value: `true`, want: "resources: [pods/eviction]"},
	"uninstall.timeout":             {value: `"8m"`, want: "- --timeout=8m"},
	"uninstall.unloadLedger":        {value: `false`, want: "- --unload=false"},
	"uninstall.nodeSelector":        {value: `{"pool":"b"}`, want: "pool: b"},
	"uninstall.tolerations":         {value: `[{"key":"here"}]`, want: "- key: here"},
}

// TestEveryValueDoesSomething: no value of the chart is there for nothing, and none
// is left out of this test.
func TestEveryValueDoesSomething(t *testing.T) {
	plains := map[string]string{}
	for _, path := range leaves(t, "", readValues(t)) {
		t.Run(path, func(t *testing.T) {
			c, tested := changes[path]
			require.True(t, tested, "no test for this value")
			plain, rendered := plains[fmt.Sprint(c.with)]
			if !rendered {
				plain = render(t, c.with)
				plains[fmt.Sprint(c.with)] = plain
			}
			values := maps.Clone(c.with)
			if values == nil {
				values = map[string]string{}
			}
			values[path] = c.value
			changed := render(t, values)
			require.NotEqual(t, plain, changed, "it changes nothing")
			require.NotEmpty(t, decode(t, changed))
			keep(t, path, changed)
			if c.want == "" {
				require.Less(t, len(changed), len(plain), "it leaves nothing out")
				return
			}
			require.True(t, hasLine(changed, c.want), "no line %q in\n%s", c.want, changed)
			require.False(t, hasLine(plain, c.want), "there also by default")
		})
	}
}

// keep writes what the chart has with a value into the folder that $OOMWITNESS_RENDERED
// names, if that is set: a real API server judges the files in integration/rollout.
func keep(t *testing.T, path, rendered string) {
	t.Helper()
	if dir := os.Getenv("OOMWITNESS_RENDERED"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, path+".yaml"), []byte(rendered), 0o600))
	}
}

func hasLine(text, want string) bool {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == want {
			return true
		}
	}
	return false
}

func readValues(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("chart/values.yaml")
	require.NoError(t, err)
	values := map[string]any{}
	require.NoError(t, yaml.Unmarshal(text, &values))
	return values
}

// leaves are the paths of values that are set as a whole.
func leaves(t *testing.T, above string, values map[string]any) (paths []string) {
	t.Helper()
	for key, value := range values {
		path := strings.TrimPrefix(above+"."+key, ".")
		below, isMap := value.(map[string]any)
		if _, whole := changes[path]; whole || !isMap || len(below) == 0 {
			paths = append(paths, path)
			continue
		}
		paths = append(paths, leaves(t, path, below)...)
	}
	return paths
}

// TestEveryValueIsExplained: each has a comment above it, or is one of several below
// one.
func TestEveryValueIsExplained(t *testing.T) {
	text, err := os.ReadFile("chart/values.yaml")
	require.NoError(t, err)
	explained := false
	for line := range strings.Lines(string(text)) {
		word := strings.TrimSpace(line)
		switch {
		case word == "":
			explained = false
		case strings.HasPrefix(word, "#"):
			explained = true
		case !strings.HasSuffix(word, ":"): // a value, and not a heading
			require.True(t, explained || strings.HasPrefix(line, "  "), "not explained: %s", line)
		}
	}
}

func TestRefusedValues(t *testing.T) {
	for path, value := range map[string]string{
		"handler": `"runc"`, "node.restart": `"maybe"`, "node.binDir": `"bin"`, "node.systemdCgroup": `true`,
		"node.timeout": `"soon"`, "uninstall.timeout": `5`, "image.digest": `"abc"`, "node.label": `"a b"`,
		"node.confDir": `"opt/conf.d"`, "unknown": `1`, "node.unknown": `1`, "daemonSet.maxUnavailable": `"some"`,
		"settings.grace": `"soon"`, "settings.report": `"never"`, "settings.allow": `["anything"]`, "settings.hold": `"5s"`,
		"nameOverride": `"Upper"`, "fullnameOverride": `"a b"`, "shim.enabled": `"no"`, "node.writable": `["etc"]`,
		"agent.containerdSocket": `"run/c.sock"`, "daemonSet.extraEnv": `[{"value":"x"}]`, "daemonSet.atOnce": `-1`, "daemonSet.unsupported": `"maybe"`, "node.startupTaint": `"a b"`,
		"runtimeClass.name": `"Upper"`, "api.port": `6443`,
		"agent.port": `"8080"`, "agent.logLevel": `"trace"`, "agent.mark.label": `"noequals"`, "agent.mark.causes": `["galaxy"]`,
		"agent.seriesTTL": `"soon"`, "agent.maxSeries": `0`, "agent.memoryLimit": `"lots"`, "agent.unknown": `1`,
		"agent.otlp.endpoint": `"collector:4317"`, "agent.otlp.caSecret": `"A b"`,
		"commonLabels": `{"a b":"x"}`, "daemonSet.podLabels": `{"app.kubernetes.io/name":"other"}`, "agent.podLabels": `{"a":"b c"}`,
		"imagePullSecrets": `["name"]`, "image.tag": `"a b"`, "daemonSet.tolerations": `[{}]`, "daemonSet.affinity": `{"nodes":{}}`,
		"daemonSet.resources": `{"limits":{"memory":"lots"}}`, "runtimeClass.overhead": `{"memory":"lots"}`, "node.containerdUnit": `"a b"`,
	} {
		t.Run(path, func(t *testing.T) {
			_, err := helm(t, templateArgs(map[string]string{path: value})...)
			last := path[strings.LastIndex(path, ".")+1:]
			require.ErrorContains(t, err, last)
		})
	}
}

func TestLint(t *testing.T) {
	for name, values := range combinations {
		args := []string{"lint", "--strict", "chart"}
		for path, value := range values {
			args = append(args, "--set-json", path+"="+value)
		}
		_, err := helm(t, args...)
		require.NoError(t, err, name)
	}
}
