//go:build linux

package shim

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"
)

// heapBudget is the most that one container may keep alive on the shim's heap after
// Create, in bytes. It is paid for in each container of each pod, so a larger number
// needs its reason in the commit's body. It was 4.3 KB when this was written, and 8.9 KB
// with the race detector. The fakes have a part, and so have the container's goroutines.
const heapBudget = 10 << 10

// TestLiveHeap creates containers with a spec of 80 KB, as large as that of a pod with
// the default seccomp profile and many mounts. The spec must not stay.
func TestLiveHeap(t *testing.T) {
	b := newOpenBench(t)
	rules := make([]string, 1000)
	for i := range rules {
		rules[i] = fmt.Sprintf(`{"names":["call%d"],"action":"SCMP_ACT_ALLOW","errnoRet":null,"args":[]}`, i)
	}
	linux := `"linux":{"cgroupsPath":"/pod/c","namespaces":[{"type":"pid"}],"seccomp":{"syscalls":[` + strings.Join(rules, ",") + `]}}`
	dir := annotated(t, map[string]string{"io.kubernetes.cri.container-type": "container"}, linux)
	create := func(id string) {
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: id, Bundle: dir})
		require.NoError(t, err)
	}
	for i := range 20 { // with what is made once
		create(fmt.Sprintf("first%d", i))
	}
	const n = 100
	before := liveHeap()
	for i := range n {
		create(fmt.Sprintf("c%d", i))
	}
	each := (liveHeap() - before) / n
	t.Logf("%d bytes for each container of at most %d", each, heapBudget)
	require.Less(t, each, int64(heapBudget))
	require.Greater(t, each, int64(heapBudget/5), "the budget can be lowered")
}

// liveHeap returns what is alive on the heap and on the stacks, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // with what the first has left to finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
