//go:build linux

package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

func TestParsePolicy(t *testing.T) {
	type m = map[string]string
	in := func(name string) m {
		return m{criSandboxID: "s", criContainerType: "container", criContainerName: name}
	}
	sandbox := m{criSandboxID: "s", criContainerType: criSandbox}
	const oneOf = `allowed: "oomwitness.io/grace", "oomwitness.io/oom-exit-code", "oomwitness.io/oom-group", "oomwitness.io/report", or one of them with ".<container name>" appended`
	for name, tc := range map[string]struct {
		base        m
		annotations m
		want        Policy
		err         string
	}{
		"none":             {nil, nil, Policy{}, ""},
		"others":           {nil, m{"example.com/report": "x"}, Policy{}, ""},
		"no pod":           {nil, m{"oomwitness.io/oom-group": "true"}, Policy{OOMGroup: "1"}, ""},
		"pod-wide":         {in("a"), m{"oomwitness.io/report": "live"}, Policy{Report: config.ReportLive}, ""},
		"this container":   {in("a"), m{"oomwitness.io/report.a": "live"}, Policy{Report: config.ReportLive}, ""},
		"another":          {in("a"), m{"oomwitness.io/report.b": "live"}, Policy{}, ""},
		"its own wins":     {in("a"), m{"oomwitness.io/report": "live", "oomwitness.io/report.a": "exit"}, Policy{}, ""},
		"dots in the name": {in("a.b"), m{"oomwitness.io/report.a.b": "live"}, Policy{Report: config.ReportLive}, ""},
		"all four": {in("a"), m{
			"oomwitness.io/report": "live", "oomwitness.io/oom-group": "false", "oomwitness.io/oom-exit-code": "217", "oomwitness.io/grace": "1m",
		}, Policy{Report: config.ReportLive, OOMGroup: "0", ExitCode: 217, Grace: time.Minute}, ""},
		"grace, its own wins": {in("a"), m{"oomwitness.io/grace": "1m", "oomwitness.io/grace.a": "0s", "oomwitness.io/grace.b": "2s"}, Policy{Grace: -1}, ""},
		"grace without a unit": {in("a"), m{"oomwitness.io/grace": "10"}, Policy{},
			`annotation "oomwitness.io/grace": "10" is not a duration from 0s to 10m0s, such as "5s"`},
		"grace too long":           {in("a"), m{"oomwitness.io/grace.b": "10m1s"}, Policy{}, `annotation "oomwitness.io/grace.b": "10m1s" is not a duration`},
		"grace below 0":            {in("a"), m{"oomwitness.io/grace": "-1s"}, Policy{}, `"-1s" is not a duration`},
		"the image's stop signal":  {in("a"), m{imageStopSignal: "SIGUSR1"}, Policy{StopSignal: unix.SIGUSR1}, ""},
		"the image's, by number":   {nil, m{imageStopSignal: "28"}, Policy{StopSignal: unix.SIGWINCH}, ""},
		"the image's, which is no": {nil, m{imageStopSignal: "SIGSTOPPLEASE"}, Policy{}, ""},
		"each its own": {in("a"), m{
			"oomwitness.io/oom-group": "true", "oomwitness.io/oom-group.a": "false",
			"oomwitness.io/oom-exit-code": "255", "oomwitness.io/oom-exit-code.a": "1", "oomwitness.io/oom-exit-code.b": "2",
		}, Policy{OOMGroup: "0", ExitCode: 1}, ""},
		"each another's": {in("a"), m{"oomwitness.io/oom-group.b": "false", "oomwitness.io/oom-exit-code.b": "217"}, Policy{}, ""},
		"the sandbox": {sandbox, m{
			"oomwitness.io/oom-group": "true", "oomwitness.io/oom-exit-code": "217", "oomwitness.io/report": "live",
			"oomwitness.io/oom-group.a": "false",
		}, Policy{}, ""},
		"the sandbox, bad value":           {sandbox, m{"oomwitness.io/oom-group": "no"}, Policy{}, `"oomwitness.io/oom-group": "no"`},
		"the sandbox, bad for a container": {sandbox, m{"oomwitness.io/oom-group.a": "no"}, Policy{}, `"oomwitness.io/oom-group.a": "no"`},
		"mode": {in("a"), m{"oomwitness.io/report": "always"}, Policy{},
			`annotation "oomwitness.io/report": "always" is not a report mode; allowed: "exit", "live"`},
		"choice": {in("a"), m{"oomwitness.io/oom-group": "1"}, Policy{},
			`annotation "oomwitness.io/oom-group": "1" is not a choice; allowed: "true", "false"`},
		"choice, not quite": {in("a"), m{"oomwitness.io/oom-group": "True"}, Policy{}, `"True" is not a choice`},
		"status 0": {in("a"), m{"oomwitness.io/oom-exit-code": "0"}, Policy{},
			`annotation "oomwitness.io/oom-exit-code": "0" is not an exit status; allowed: 1 to 255`},
		"status 256":           {in("a"), m{"oomwitness.io/oom-exit-code": "256"}, Policy{}, `"256" is not an exit status`},
		"status with a sign":   {in("a"), m{"oomwitness.io/oom-exit-code": "+217"}, Policy{}, `"+217" is not an exit status`},
		"status with a zero":   {in("a"), m{"oomwitness.io/oom-exit-code": "0217"}, Policy{}, `"0217" is not an exit status`},
		"status with a blank":  {in("a"), m{"oomwitness.io/oom-exit-code": "217 "}, Policy{}, `"217 " is not an exit status`},
		"no status":            {in("a"), m{"oomwitness.io/oom-exit-code": ""}, Policy{}, `"" is not an exit status`},
		"status out of all":    {in("a"), m{"oomwitness.io/oom-exit-code": "99999999999999999999"}, Policy{}, "is not an exit status"},
		"bad value of another": {in("a"), m{"oomwitness.io/report.b": "always"}, Policy{}, `"oomwitness.io/report.b"`},
		"unknown": {in("a"), m{"oomwitness.io/oom-grop": "true"}, Policy{},
			`annotation "oomwitness.io/oom-grop" is not known to this version of oomwitness; ` + oneOf},
		"no container": {in("a"), m{"oomwitness.io/oom-group.": "true"}, Policy{}, `"oomwitness.io/oom-group." is not known`},
		"no name":      {in("a"), m{"oomwitness.io/": "true"}, Policy{}, "is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			all := m{}
			maps.Copy(all, tc.base)
			maps.Copy(all, tc.annotations)
			got, _, err := parse(all, config.Default())
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
				return
			}
			require.NoError(t, err)
			if tc.want.Report == "" {
				tc.want.Report = config.ReportExit
			}
			if tc.want.Grace == 0 {
				tc.want.Grace = config.Default().Grace
			}
			tc.want.Grace = max(tc.want.Grace, 0) // -1 stands for an annotation with 0
			tc.want.Pod, tc.want.Waited = tc.base != nil, tc.base[criContainerType] == criContainer
			require.Equal(t, tc.want, got)
		})
	}
}

// What the node's owner forbids is refused, good value or bad, and in whichever
// container of the pod comes first.
func TestTheNodeForbids(t *testing.T) {
	t.Setenv(config.PathEnv, "/node.toml")
	some := config.Default()
	some.Allow = []string{config.PolicyReport}
	none := config.Default()
	none.Allow = nil
	for name, tc := range map[string]struct {
		cfg config.Config
		err string
	}{
		"oomwitness.io/report":           {some, ""},
		"oomwitness.io/oom-group":        {some, `annotation "oomwitness.io/oom-group" is forbidden on this node; "allow" in /node.toml has: "report"`},
		"oomwitness.io/oom-exit-code.b":  {some, `annotation "oomwitness.io/oom-exit-code.b" is forbidden`},
		"oomwitness.io/report.b":         {none, `"allow" in /node.toml has: nothing`},
		"oomwitness.io/oom-exit-code.":   {none, "is not known"},
		"example.com/oomwitness.io-oops": {none, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := parse(map[string]string{name: "live"}, tc.cfg)
			if tc.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.err)
		})
	}
}

// Whatever stands in a bundle's spec, what is taken of it is the same when it
// is written again, and asks for nothing but what there is.
func FuzzParseAnnotations(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.2.1","annotations":{"oomwitness.io/report":"live","io.kubernetes.cri.container-name":"a"}}`))
	f.Add([]byte(`{"annotations":{"oomwitness.io/report.a":"exit"},"Annotations":{"oomwitness.io/report":"x"}} {}`))
	f.Add([]byte(`{"annotations":[1]}`))
	f.Add([]byte(`{"linux":{"namespaces":[{"type":"ipc"},{"type":"pid","path":"/proc/1/ns/pid"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		sp, err := bundle.ParseSpec(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]any{
			"annotations": sp.Annotations, "linux": map[string]any{"cgroupsPath": sp.CgroupsPath, "namespaces": sp.Namespaces},
		})
		require.NoError(t, err)
		same, err := bundle.ParseSpec(bytes.NewReader(again))
		require.NoError(t, err)
		require.Equal(t, sp.Annotations, same.Annotations, "%q", text)
		require.Equal(t, sp.CgroupsPath, same.CgroupsPath, "%q", text)
		require.Equal(t, sp.OwnPids(), same.OwnPids(), "%q", text)
		p, _, err := parse(sp.Annotations, config.Default())
		require.True(t, err != nil || p.Report == config.ReportExit || p.Report == config.ReportLive, "%+v from %q", p, text)
	})
}

// Kubernetes bounds the part of a name behind the slash; docs/annotations.md says
// what that leaves for a container's name.
func TestAContainersNameInAnAnnotation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/annotations.md")
	require.NoError(t, err)
	words := strings.Join(strings.Fields(string(page)), " ")
	for _, tc := range []struct {
		policy, says string
		room         int
	}{
		{config.PolicyOOMGroup, "that leaves 53 characters with `oom-group`", 53},
		{config.PolicyOOMExitCode, "49 with `oom-exit-code`", 49},
		{config.PolicyGrace, "57 with `grace`", 57},
		{config.PolicyReport, "56 with `report`", 56},
	} {
		name := annotationPrefix + tc.policy + "." + strings.Repeat("a", tc.room)
		require.Empty(t, validation.IsQualifiedName(name))
		require.NotEmpty(t, validation.IsQualifiedName(name+"a"))
		require.Contains(t, words, tc.says)
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("oomwitness.io/report", "live", "a")
	f.Add("oomwitness.io/report.a", "exit", "a")
	f.Add("oomwitness.io/oom-group.a", "false", "a")
	f.Add("oomwitness.io/oom-exit-code", "217", "a")
	f.Add("oomwitness.io/grace.a", "1m30s", "a")
	f.Add("oomwitness.io/", "", "")
	f.Fuzz(func(t *testing.T, name, value, container string) {
		annotations := map[string]string{criContainerName: container, name: value}
		p, asked, err := parse(annotations, config.Default())
		if err != nil {
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			require.ErrorContains(t, err, strconv.Quote(name))
			return
		}
		base, known := strings.CutPrefix(name, annotationPrefix)
		base, _, _ = strings.Cut(base, ".")
		switch {
		case !known:
			require.Empty(t, asked)
		case base == config.PolicyReport:
			require.Contains(t, []string{"exit", "live"}, value)
		case base == config.PolicyGrace:
			d, err := time.ParseDuration(value)
			require.NoError(t, err)
			require.True(t, d >= 0 && d <= 10*time.Minute, value)
		case base == config.PolicyOOMGroup:
			require.Contains(t, []string{"true", "false"}, value)
		case base == config.PolicyOOMExitCode:
			require.Regexp(t, `^[1-9][0-9]{0,2}$`, value)
		default:
			t.Fatalf("%q=%q was taken", name, value)
		}
		require.Contains(t, []config.Report{config.ReportExit, config.ReportLive}, p.Report)
		require.Contains(t, []string{"", "0", "1"}, p.OOMGroup)
		require.True(t, p.ExitCode >= 0 && p.ExitCode <= bundle.MaxStatus)

		forbidding := config.Default()
		forbidding.Allow = nil
		_, _, err = parse(annotations, forbidding)
		require.Equal(t, known, errors.Is(err, errdefs.ErrPermissionDenied), "%q", name)
	})
}
