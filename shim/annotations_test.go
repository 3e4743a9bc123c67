//go:build linux

package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"

	"github.com/oomwitness/oomwitness/shim/config"
)

func TestParsePolicy(t *testing.T) {
	in := func(name string) map[string]string { return map[string]string{criContainerName: name} }
	for name, tc := range map[string]struct {
		base        map[string]string
		annotations map[string]string
		want        policy
		err         string
	}{
		"none":             {nil, nil, policy{report: config.ReportExit}, ""},
		"others":           {nil, map[string]string{"example.com/report": "x"}, policy{report: config.ReportExit}, ""},
		"pod-wide":         {in("a"), map[string]string{"oomwitness.io/report": "live"}, policy{report: config.ReportLive}, ""},
		"this container":   {in("a"), map[string]string{"oomwitness.io/report.a": "live"}, policy{report: config.ReportLive}, ""},
		"another":          {in("a"), map[string]string{"oomwitness.io/report.b": "live"}, policy{report: config.ReportExit}, ""},
		"its own wins":     {in("a"), map[string]string{"oomwitness.io/report": "live", "oomwitness.io/report.a": "exit"}, policy{report: config.ReportExit}, ""},
		"dots in the name": {in("a.b"), map[string]string{"oomwitness.io/report.a.b": "live"}, policy{report: config.ReportLive}, ""},
		"in a pod":         {map[string]string{criSandboxID: "s"}, nil, policy{report: config.ReportExit, pod: true}, ""},
		"bad value": {in("a"), map[string]string{"oomwitness.io/report": "always"}, policy{},
			`annotation "oomwitness.io/report": "always" is not a report mode; allowed: "exit", "live"`},
		"bad value for another": {in("a"), map[string]string{"oomwitness.io/report.b": "always"}, policy{}, `"oomwitness.io/report.b"`},
		"unknown": {in("a"), map[string]string{"oomwitness.io/oom-grop": "true"}, policy{},
			`annotation "oomwitness.io/oom-grop" is not known to this version of oomwitness; allowed: "oomwitness.io/report"`},
		"no container": {in("a"), map[string]string{"oomwitness.io/report.": "live"}, policy{}, "is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{}
			for _, m := range []map[string]string{tc.base, tc.annotations} {
				for k, v := range m {
					all[k] = v
				}
			}
			got, err := parsePolicy(all, config.ReportExit)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestABadAnnotationRefusesTheContainer(t *testing.T) {
	b := newBench(t)
	bundle := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"),
		[]byte(`{"annotations":{"oomwitness.io/report":"always"}}`), 0o600))
	_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: bundle})
	require.ErrorContains(t, err, "oomwitness.io/report")
	require.Nil(t, b.run("c"))
	require.Empty(t, b.task.inits, "nothing was made")
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("oomwitness.io/report", "live", "a")
	f.Add("oomwitness.io/report.a", "exit", "a")
	f.Add("oomwitness.io/", "", "")
	f.Fuzz(func(t *testing.T, name, value, container string) {
		p, err := parsePolicy(map[string]string{criContainerName: container, name: value}, config.ReportExit)
		if err == nil && strings.HasPrefix(name, annotationPrefix) && value != "exit" && value != "live" {
			t.Fatalf("%q=%q was taken", name, value)
		}
		if err == nil && p.report == "" {
			t.Fatal("no report mode")
		}
	})
}
