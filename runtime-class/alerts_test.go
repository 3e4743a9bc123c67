package runtimeclass

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/oom"
)

// promtool runs Prometheus' own check.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool: apt-get install prometheus")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", "chart/files/rules.yaml", "chart/files/alerts.yaml")
	promtool(t, "test", "rules", "alerts.test.yaml")
}

type rule struct {
	Record, Alert, Expr string
	Annotations         map[string]string
}

// rules are those of both files.
func rules(t *testing.T) (list []rule) {
	t.Helper()
	for _, name := range []string{"rules", "alerts"} {
		text, err := os.ReadFile("chart/files/" + name + ".yaml")
		require.NoError(t, err)
		list = append(list, groups(t, text)...)
	}
	require.Len(t, list, 19)
	return list
}

func groups(t *testing.T, text []byte) (list []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	require.NoError(t, yaml.Unmarshal(text, &file))
	for _, group := range file.Groups {
		list = append(list, group.Rules...)
	}
	return list
}

// TestPrometheusRule: the operator gets what the files have, and on request no alert.
func TestPrometheusRule(t *testing.T) {
	for _, alerts := range []bool{true, false} {
		text := render(t, map[string]string{
			"agent.enabled": "true", "agent.prometheusRule.create": "true", "agent.prometheusRule.alerts": fmt.Sprint(alerts),
		})
		_, text, found := strings.Cut(text, "kind: PrometheusRule\n")
		require.True(t, found)
		text, _, _ = strings.Cut(text, "\n---\n")
		var object struct{ Spec any }
		require.NoError(t, sigsyaml.Unmarshal([]byte(text), &object))
		spec, err := json.Marshal(object.Spec)
		require.NoError(t, err)
		got := groups(t, spec)
		want := rules(t)
		if !alerts {
			want = slices.DeleteFunc(want, func(r rule) bool { return r.Alert != "" })
		}
		require.Equal(t, want, got)
	}
}

// recordName is level:metric:operations, as Prometheus recommends.
var recordName = regexp.MustCompile(`^[a-z]+:[a-z_]+:[a-z0-9]+$`)

// TestEveryRecordIsTested, has a name by the convention, and is documented.
func TestEveryRecordIsTested(t *testing.T) {
	tests, err := os.ReadFile("alerts.test.yaml")
	require.NoError(t, err)
	doc, err := os.ReadFile("../docs/agent.md")
	require.NoError(t, err)
	for _, r := range rules(t) {
		if r.Record == "" {
			continue
		}
		require.Regexp(t, recordName, r.Record)
		require.Contains(t, string(doc), r.Record)
		require.Regexp(t, `- expr: .*\b`+r.Record+`\b`, string(tests))
	}
}

// TestEveryAlertIsTested, and its runbook is there.
func TestEveryAlertIsTested(t *testing.T) {
	tests, err := os.ReadFile("alerts.test.yaml")
	require.NoError(t, err)
	doc, err := os.ReadFile("../docs/agent.md")
	require.NoError(t, err)
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		require.Contains(t, string(tests), "alertname: "+r.Alert+"\n        exp_alerts:", r.Alert)
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "/docs/agent.md#")
		require.Equal(t, strings.ToLower(r.Alert), anchor)
		require.Contains(t, string(doc), "\n#### "+r.Alert+"\n")
	}
}

// dashboard is what of Grafana's model is looked at.
type dashboard struct {
	UID    string
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
	Templating struct {
		List []struct {
			Name  string
			Query any
		}
	}
}

// expressions of the dashboard, with Grafana's variables as it sets them.
func expressions(t *testing.T) (list []string) {
	t.Helper()
	text, err := os.ReadFile("chart/files/dashboard.json")
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	require.NotEmpty(t, d.UID)
	for i, p := range d.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for _, other := range d.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			apart := a.X+a.W <= b.X || b.X+b.W <= a.X || a.Y+a.H <= b.Y || b.Y+b.H <= a.Y
			require.True(t, apart && p.ID != other.ID, "%s over %s", p.Title, other.Title)
		}
		for _, target := range p.Targets {
			list = append(list, strings.NewReplacer("$__rate_interval", "4m", "$__range", "24h", "$instance", ".*", "$namespace", ".*", "$node", ".*").Replace(target.Expr))
		}
	}
	return list
}

// TestDashboard: Prometheus can read all of its queries.
func TestDashboard(t *testing.T) {
	var file strings.Builder
	file.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, expr := range expressions(t) {
		require.NotContains(t, expr, "$")
		fmt.Fprintf(&file, "  - {record: r%d, expr: %q}\n", i, expr)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	promtool(t, "check", "rules", path)
}

// words of PromQL that are no metric: by, on and what follows in parentheses, strings,
// selectors and ranges are taken out before.
var (
	notNames = regexp.MustCompile(`"(?:\\.|[^"\\])*"|\{[^{}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)`)
	function = regexp.MustCompile(`\b[a-z_0-9]+\s*\(`)
	operator = regexp.MustCompile(`\b(?:and|or|unless|offset|bool|by|without|on|[0-9]+[smhdw]?)\b`)
	anyName  = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
)

// metrics are the names of the metrics that a query asks for.
func metrics(expr string) []string {
	for _, other := range []*regexp.Regexp{notNames, function, operator} {
		expr = other.ReplaceAllString(expr, " ")
	}
	return anyName.FindAllString(expr, -1)
}

// TestNamesThatThereAre: rules and dashboard ask for nothing that the agent does not
// have, and no rule is left unused.
func TestNamesThatThereAre(t *testing.T) {
	there := exposed(t)
	there["up"] = true
	for _, name := range []string{"container_oom_events_total", "rate"} { // what the check is for
		require.Equal(t, []string{name}, metrics("sum by (pod) (increase("+name+`{job="x"}[5m] offset 1h)) > 0`))
	}
	var used []string
	for _, r := range rules(t) {
		used = append(used, r.Expr)
		if r.Record != "" {
			there[r.Record] = true
		}
	}
	used = append(used, expressions(t)...)
	asked := map[string]bool{}
	for _, expr := range used {
		names := metrics(expr)
		require.NotEmpty(t, names, expr)
		for _, name := range names {
			require.True(t, there[name], "%s in %s", name, expr)
			asked[name] = true
		}
	}
	for _, r := range rules(t) {
		require.True(t, r.Record == "" || asked[r.Record], "%s is used by nobody", r.Record)
	}
}

// exposed are the names of an agent's metrics, as the registry has them.
func exposed(t *testing.T) map[string]bool {
	t.Helper()
	families, err := anAgent().Registry().Gather()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			names[f.GetName()+"_bucket"] = true
		}
	}
	return names
}

// anAgent has every metric, and one kill.
func anAgent() *agenttest.Metrics {
	m := agenttest.NewMetrics(agenttest.MetricsOptions{
		Version: "v1", Commit: "c",
		Health: func() agenttest.Health { return agenttest.Health{Ready: true, Tier: "A"} },
		Queues: func() []agenttest.MetricsQueue { return []agenttest.MetricsQueue{{Name: "kubernetes", Capacity: 10}} },
	})
	m.Take(killOf("web-6d9c7b5f48-x2x7p", oom.CauseContainer))
	return m
}

// TestMetricsAreDocumented compares docs/agent.md with the registry, both ways.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/agent.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(doc), "\n## Metrics\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\nScrape")
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile("`(oomwitness_[a-z_]+)`").FindAllStringSubmatch(table, -1) {
		documented[name[1]] = true
	}
	there := map[string]bool{}
	for name := range exposed(t) {
		if strings.HasPrefix(name, "oomwitness_") && !strings.HasSuffix(name, "_bucket") {
			there[name] = true
		}
	}
	require.Equal(t, there, documented)
}
