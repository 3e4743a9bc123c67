//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

var wantsNoGroup = map[string]string{"oomwitness.io/oom-group": "false"}

const asksGroup = `"linux":{"resources":{"memory":{"limit":9007199254740993},"unified":{"memory.oom.group":"1","memory.high":"max"}},"new":1.50}`

// What the pod asks for is in the spec before upstream sees it, whatever kubelet
// has put there; all else stays as it was.
func TestTheSpecHasTheGroupBeforeUpstreamSeesIt(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		linux       string
		want        string
		checkpoint  string // of a container that runc makes at its Start
	}{
		"in the place of kubelet's": {wantsNoGroup, asksGroup,
			`{"resources":{"memory":{"limit":9007199254740993},"unified":{"memory.high":"max","memory.oom.group":"0"}},"new":1.50}`, ""},
		"restored": {wantsNoGroup, `"linux":{"resources":{}}`, `{"resources":{"unified":{"memory.oom.group":"0"}}}`, "/image"},
		"kubelet asks for none": {map[string]string{"oomwitness.io/oom-group": "true"}, `"linux":{"resources":{}}`,
			`{"resources":{"unified":{"memory.oom.group":"1"}}}`, ""},
		"nulls":           {wantsNoGroup, `"linux":{"resources":null}`, `{"resources":{"unified":{"memory.oom.group":"0"}}}`, ""},
		"no linux at all": {wantsNoGroup, `"x":1`, `{"resources":{"unified":{"memory.oom.group":"0"}}}`, ""},
		"of another":      {map[string]string{"oomwitness.io/oom-group.b": "false"}, asksGroup, asksGroup[len(`"linux":`):], ""},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBench(t)
			dir := annotated(t, tc.annotations, tc.linux)
			_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: dir, Checkpoint: tc.checkpoint})
			require.NoError(t, err)
			data, err := os.ReadFile(filepath.Join(dir, bundle.SpecFile))
			require.NoError(t, err)
			var spec map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(data, &spec))
			require.JSONEq(t, tc.want, string(spec["linux"]))
			for _, number := range []string{"9007199254740993", "1.50"} { // JSONEq knows floats only
				require.Equal(t, strings.Count(tc.want, number), strings.Count(string(data), number), number)
			}
			require.Contains(t, spec, "annotations")
			fi, err := os.Stat(filepath.Join(dir, bundle.SpecFile))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), fi.Mode())
			require.NoFileExists(t, filepath.Join(dir, bundle.SpecFile+".new"))
		}))
	}
}

func TestAGroupThatCantBeHadRefusesTheContainer(t *testing.T) {
	v1 := func() (oom.Hierarchy, error) {
		return oom.Hierarchy{Version: 1, Mount: "/sys/fs/cgroup/memory"}, nil
	}
	for name, tc := range map[string]struct {
		change func(*bench, *Options)
		spec   string
		kind   error
		err    string
	}{
		"cgroup v1": {func(_ *bench, o *Options) { o.Hierarchy = v1 }, asksGroup, errdefs.ErrFailedPrecondition,
			`annotation "oomwitness.io/oom-group" needs a node with cgroup v2: cgroup v1, mounted on /sys/fs/cgroup/memory, has no memory.oom.group`},
		"no controller": {func(_ *bench, o *Options) {
			o.Hierarchy = func() (oom.Hierarchy, error) { return oom.Hierarchy{}, errors.New("nowhere") }
		}, asksGroup, errdefs.ErrFailedPrecondition, "nowhere"},
		"not an object": {func(*bench, *Options) {}, `"linux":7`, nil, "set memory.oom.group of c: "},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBench(t, tc.change)
			dir := annotated(t, wantsNoGroup, tc.spec)
			before, err := os.ReadFile(filepath.Join(dir, bundle.SpecFile))
			require.NoError(t, err)
			_, err = b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: dir})
			require.ErrorContains(t, err, tc.err)
			if tc.kind != nil {
				require.ErrorIs(t, errgrpc.ToNative(err), tc.kind)
			}
			require.Nil(t, b.container("c"))
			require.Empty(t, b.task.inits, "nothing was made")
			after, err := os.ReadFile(filepath.Join(dir, bundle.SpecFile))
			require.NoError(t, err)
			require.Equal(t, string(before), string(after))
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 1)
		}))
	}
	t.Run("cgroup v1, nobody asks", bubble(func(t *testing.T) {
		b := newBench(t, func(_ *bench, o *Options) { o.Hierarchy = v1 })
		dir := annotated(t, map[string]string{"oomwitness.io/oom-exit-code": "217"}, asksGroup)
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: dir})
		require.NoError(t, err)
	}))
	t.Run("cgroup v1, one of the pod asks", bubble(func(t *testing.T) {
		b := newBench(t, func(_ *bench, o *Options) { o.Hierarchy = v1 })
		dir := annotated(t, map[string]string{
			"io.kubernetes.cri.sandbox-id": "s", "io.kubernetes.cri.container-type": "sandbox", "oomwitness.io/oom-group.b": "true",
		})
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: dir})
		require.ErrorContains(t, err, "needs a node with cgroup v2", "in the first of its containers")
	}))
}

// A bundle that can't be written to is no reason to run without the policy.
func TestASpecThatCantBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		dir := annotated(t, wantsNoGroup, asksGroup)
		require.NoError(t, os.Mkdir(filepath.Join(dir, bundle.SpecFile+".new"), 0o700))
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: dir})
		require.ErrorContains(t, err, "set memory.oom.group of c: ")
		require.ErrorContains(t, err, "config.json.new")
		require.Empty(t, b.task.inits)
	})
}

func TestAnUpdateKeepsTheGroup(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		asks, want  string
	}{
		"asked otherwise": {wantsNoGroup, `{"memory":{"limit":9007199254740993},"unified":{"memory.oom.group":"1","memory.high":"max"}}`,
			`{"memory":{"limit":9007199254740993},"unified":{"memory.high":"max","memory.oom.group":"0"}}`},
		"not asked":  {wantsNoGroup, `{"cpu":{"shares":2}}`, `{"cpu":{"shares":2},"unified":{"memory.oom.group":"0"}}`},
		"no policy":  {nil, `{"unified":{"memory.oom.group":"1"}}`, `{"unified":{"memory.oom.group":"1"}}`},
		"of another": {map[string]string{"oomwitness.io/oom-group.b": "false"}, ` {"x":1}`, ` {"x":1}`},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBench(t)
			_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: annotated(t, tc.annotations)})
			require.NoError(t, err)
			req := &taskAPI.UpdateTaskRequest{ID: "c", Resources: &anypb.Any{Value: []byte(tc.asks)}}
			_, err = b.Update(b.ctx, req)
			require.NoError(t, err)
			require.Equal(t, []string{tc.want}, b.task.updates)
			require.Equal(t, tc.asks, string(req.Resources.Value), "the caller's own")

			b.task.updateErr = errors.New("not today")
			_, err = b.Update(b.ctx, req)
			require.ErrorContains(t, err, "not today")
		}))
	}
}

func TestAnUpdateThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: annotated(t, wantsNoGroup)})
		require.NoError(t, err)
		for _, text := range []string{"", "[]", `{"unified":1}`, `{"unified":{}`} {
			_, err = b.Update(b.ctx, &taskAPI.UpdateTaskRequest{ID: "c", Resources: &anypb.Any{Value: []byte(text)}})
			require.ErrorContains(t, err, "resources of c: ", "%q", text)
		}
		require.Empty(t, b.task.updates, "runc was not asked")
	})
}

func TestABadAnnotationRefusesTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		dir := annotated(t, map[string]string{"oomwitness.io/report": "always"})
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: dir})
		require.ErrorContains(t, err, "oomwitness.io/report")
		require.Nil(t, b.container("c"))
		require.Empty(t, b.task.inits, "nothing was made")
	})
}
