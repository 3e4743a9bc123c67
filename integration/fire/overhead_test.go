//go:build linux

package fire

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const overheadPods = 10

var (
	pssLine      = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)
	overheadLine = regexp.MustCompile(`(?m)^ {4}memory: (\S+)$`)
)

// pss returns the PSS of a shim's memory, KiB: its own pages, and its share of shared pages.
func pss(t *testing.T, s *shimtest.Shim) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.Pid()))
	require.NoError(t, err)
	match := pssLine.FindSubmatch(text)
	require.NotNil(t, match, "no Pss in %s", text)
	kib, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	return kib
}

// TestOverhead measures the cost of a pod beside its containers: the memory of its shim, on a
// node with other shims, after a few containers. The overhead in the RuntimeClass must be no
// less, and not far more.
func TestOverhead(t *testing.T) {
	text, err := os.ReadFile("../../runtime-class/runtimeclass.yaml")
	if os.IsNotExist(err) {
		t.Skip("needs the source tree: in the guest there is none")
	}
	require.NoError(t, err)
	match := overheadLine.FindSubmatch(text)
	require.NotNil(t, match, "no overhead in the RuntimeClass")
	said := resource.MustParse(string(match[1]))

	for _, shim := range []string{"stock", "oomwitness"} {
		n := node(t, "", func(cfg *shimtest.Config) {
			cfg.Protocol = shimtest.Current // both shims know this protocol alone
			if shim == "stock" {
				cfg.Shim = shimtest.Stock(t)
			}
		})
		var pods []*shimtest.Box
		for i := range overheadPods {
			pods = append(pods, n.Run(fmt.Sprintf("%s-%d", shim, i), shimtest.Sandbox(fmt.Sprintf("%s-%d", shim, i))))
		}
		for i := range warmUp {
			b := n.NewBundle(fmt.Sprintf("run-%d", i), shimtest.Sandbox(pods[0].ID), shimtest.Args("exit", "0"))
			c := createIn(t, pods[0].Shim, b)
			start(t, c)
			get(t, watchWait(deadline(t), c), 0)
			_, err := c.Delete(deadline(t))
			require.NoError(t, err)
			// The stock shim answers a Delete while it still writes exit.json.
			require.Eventually(t, func() bool { return b.Remove() == nil }, time.Minute, 10*time.Millisecond)
		}
		var all []int
		for _, p := range pods {
			all = append(all, pss(t, p.Shim))
		}
		busy := all[0]
		slices.Sort(all)
		t.Logf("metric=shim_pss shim=%s pods=%d median_kib=%d most_kib=%d after_%d_containers_kib=%d",
			shim, overheadPods, all[len(all)/2], all[len(all)-1], warmUp, busy)
		for _, p := range pods {
			require.NoError(t, p.Kill(deadline(t), 9))
			_, err := p.Wait(deadline(t))
			require.NoError(t, err)
			_, err = p.Delete(deadline(t))
			require.NoError(t, err)
		}
		if shim == "oomwitness" {
			most := int64(all[len(all)-1]) << 10
			require.LessOrEqual(t, most, said.Value(), "the RuntimeClass says %s", said.String())
			require.Less(t, said.Value(), 4*most, "the RuntimeClass says %s", said.String())
		}
	}
}
