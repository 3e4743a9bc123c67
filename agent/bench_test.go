package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/collect"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/metrics"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	// onContainers is how many containers the kills are spread over.
	onContainers = 250
	// roomFor is how many kills the ledger's ring holds, about.
	roomFor = 2900
)

// fullRing returns n kills, each in an event of its own, as a storm over many
// containers does that has the ring full all the time: a kill is as old as the
// place that it has in the ring. Then it has none until the end.
type fullRing struct {
	b       *testing.B
	cgroups []uint64
	next    int
	read    [roomFor]uint64 // when the kills before were
}

func (r *fullRing) Ring() (collect.Ring, error)    { return r, nil }
func (r *fullRing) Records() ([]bpf.Record, error) { return nil, nil }
func (r *fullRing) Meta() (bpf.Meta, error)        { return bpf.Meta{Tier: bpf.TierA, LoadedNS: 1}, nil }
func (r *fullRing) Memory(uint64) (oom.Memory, bool, error) {
	return oom.Memory{Anon: 24 << 20, Usage: 24 << 20, Limit: 24 << 20, Candidates: make([]oom.Candidate, 8)}, true, nil
}

func (r *fullRing) Close() error { return nil }

func (r *fullRing) Read(ctx context.Context) (bpf.Record, error) {
	if r.next == r.b.N {
		<-ctx.Done()
		return bpf.Record{}, ctx.Err()
	}
	r.next++
	place := r.next % roomFor
	killed := r.read[place]
	r.read[place] = bpf.BootNow()
	pid, cgroup := uint32(1000+r.next), r.cgroups[r.next%onContainers]
	return bpf.Record{
		BootNS: killed, Seq: uint64(r.next), TID: pid, TGID: pid, StartTicks: uint64(r.next),
		RSSAnon: 6000, RSSFile: 100, Cgroup: cgroup, Domain: cgroup, Constraint: bpf.ConstraintMemcg, TotalPages: 6144,
		TriggerTID: pid, TriggerTGID: pid, Tier: bpf.TierA,
	}, nil
}

func newFullRing(b *testing.B, cgroups []uint64) *fullRing {
	r := &fullRing{b: b, cgroups: cgroups}
	for i := range r.read {
		r.read[i] = bpf.BootNow()
	}
	return r
}

type nobody struct{}

func (nobody) Lookup(context.Context, string) (resolve.ContainerInfo, bool) {
	return resolve.ContainerInfo{}, false
}

// last closes done when it has received n OOM events: it comes after the metrics.
type last struct {
	n    int
	done chan struct{}
}

func (l *last) Take(events.OOMEvent) {
	if l.n--; l.n == 0 {
		close(l.done)
	}
}

// watched are directories such as the cgroups of containers, with the files of their
// memory, and the watcher of them.
func watched(b *testing.B) (*cgroups.Watcher, []uint64) {
	b.Helper()
	mount, ids := b.TempDir(), make([]uint64, onContainers)
	for i := range ids {
		dir := filepath.Join(mount, fmt.Sprintf("kubepods.slice/kubepods-pod%08d_0000_4000_8000_000000000000.slice/cri-containerd-%064x.scope", i, i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		for name, text := range map[string]string{"memory.max": "25165824\n", "memory.peak": "25165824\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			b.Fatal(err)
		}
		ids[i] = st.Ino
	}
	watcher := cgroups.NewWatcher(&cgroups.Tree{Mount: mount}, cgroups.WatchOptions{})
	if err := watcher.Start(); err != nil {
		b.Fatal(err)
	}
	return watcher, ids
}

// cpuTime is what the process has used up to now.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// BenchmarkRingToMetric has kills come as fast as the agent takes them: one
// operation is one kill from the ring, named, its limit read, written to the journal,
// logged, on the page and in the metrics. cpu-ns/op is of all threads, and says the
// same on a machine that has other work.
func BenchmarkRingToMetric(b *testing.B) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.SetFormatter(&logrus.JSONFormatter{})
	j, _, _, err := store.Open(b.TempDir(), "boot", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	end := &last{n: b.N, done: make(chan struct{})}
	a := newPipeline(config{log: log, consumers: []events.Consumer{metrics.New(metrics.Options{}), &web.History{}, end}})
	a.journal = j
	watcher, ids := watched(b)
	c := collect.New(collect.Options{
		Ledger: newFullRing(b, ids), Resolver: resolve.New(watcher, nobody{}, nil, nil), Boot: "boot",
		Limits: newLimits(watcher.Limits).of, Counted: j.Has, Out: a.deliver, Warn: func(err error) { b.Error(err) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { watcher.Run(ctx) })
	b.ReportAllocs()
	b.ResetTimer()
	used := cpuTime(b)
	running.Go(func() { c.Run(ctx) })
	<-end.done
	b.ReportMetric(float64(cpuTime(b)-used)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "kills/s")
}
