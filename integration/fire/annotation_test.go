//go:build linux

package fire

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// refused are annotations with which no container is created, each with a text of the error.
var refused = map[string]struct {
	name, value string
	says        []string
}{
	"bad value":          {reportAnnotation, "loud", []string{`"oomwitness.io/report"`, `"loud"`, `"exit"`, `"live"`}},
	"empty value":        {reportAnnotation, "", []string{`"oomwitness.io/report"`, `""`, `"exit"`, `"live"`}},
	"not quite":          {reportAnnotation, "Live ", []string{`"oomwitness.io/report"`, `"Live "`, `"exit"`, `"live"`}},
	"another's":          {reportAnnotation + ".other", "loud", []string{`"oomwitness.io/report.other"`, `"loud"`, `"exit"`}},
	"unknown name":       {"oomwitness.io/reprot", "live", []string{`"oomwitness.io/reprot"`, `"oomwitness.io/report"`}},
	"no container":       {reportAnnotation + ".", "live", []string{`"oomwitness.io/report."`, `".<container name>"`}},
	"unknown and scoped": {"oomwitness.io/colour.app", "red", []string{`"oomwitness.io/colour.app"`, `"oomwitness.io/report"`}},
	"bad choice":         {groupAnnotation, "yes", []string{`"oomwitness.io/oom-group"`, `"yes"`, `"true"`, `"false"`}},
	"bad status":         {codeAnnotation, "256", []string{`"oomwitness.io/oom-exit-code"`, `"256"`, "1 to 255"}},
	"another's status":   {codeAnnotation + ".other", "0", []string{`"oomwitness.io/oom-exit-code.other"`, `"0"`, "1 to 255"}},
	"line breaks":        {reportAnnotation, "a\nlevel=error msg=forged", []string{`"a\nlevel=error msg=forged"`}},
	"very long":          {reportAnnotation, strings.Repeat("x", 100_000), []string{`"oomwitness.io/report"`, `"exit"`, `"live"`}},
}

// TestBadAnnotation: a container with a bad annotation is refused, and nothing of it is left.
// It can be created without the annotation, and the other containers of the pod run on.
func TestBadAnnotation(t *testing.T) {
	n := node(t, patient)
	sandbox := pod(t, n)
	witness := n.RunIn(sandbox.Shim, "witness", shimtest.Args("trap-term", "6"))
	require.NoError(t, witness.Stdio.WaitOutput(deadline(t), "ready"))
	for name, test := range refused {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			id := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", "")
			in := []change{shimtest.Sandbox("pod"), shimtest.Args("hog"), small}
			b := n.NewBundle(id, append(in, shimtest.Annotation(test.name, test.value))...)
			_, err := sandbox.Shim.Task().Create(ctx, b.CreateRequest())
			require.ErrorIs(t, errgrpc.ToNative(err), errdefs.ErrInvalidArgument)
			for _, text := range test.says {
				require.ErrorContains(t, err, text)
			}
			require.Empty(t, topics(n.Events.Attempts(), id))
			require.NoDirExists(t, cgroupOf(n, id))

			forget(t, b, test.name)
			c := createIn(t, sandbox.Shim, b)
			start(t, c)
			get(t, watchWait(ctx, c), statusKilled)
			_, err = c.Delete(ctx)
			require.NoError(t, err)
			event(t, n, deleteTopic, id)
			wantEvents(t, n, c, full...)
		})
	}
	ctx := deadline(t)
	require.NoError(t, witness.Kill(ctx, 15))
	get(t, watchWait(ctx, witness), 6)
	_, err := witness.Delete(ctx)
	require.NoError(t, err)
	event(t, n, deleteTopic, "witness")
	wantEvents(t, n, witness, quiet...)
	require.NotContains(t, n.Logs(), "\nlevel=error msg=forged")
	endPod(t, sandbox)
}

// forget removes an annotation from a bundle's spec.
func forget(t *testing.T, b *shimtest.Bundle, annotation string) {
	t.Helper()
	data, err := os.ReadFile(b.File("config.json"))
	require.NoError(t, err)
	var spec specs.Spec
	require.NoError(t, json.Unmarshal(data, &spec))
	delete(spec.Annotations, annotation)
	data, err = json.Marshal(spec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(b.File("config.json"), data, 0o644))
}
