package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/collect"
	"github.com/oomwitness/oomwitness/agent/containers"
	"github.com/oomwitness/oomwitness/agent/history"
	"github.com/oomwitness/oomwitness/agent/identity"
	"github.com/oomwitness/oomwitness/agent/incident"
	"github.com/oomwitness/oomwitness/agent/journal"
	"github.com/oomwitness/oomwitness/agent/metrics"
	"github.com/oomwitness/oomwitness/bpf"
)

// fullRing gives n kills as fast as they are taken, each in an event of its own, as
// a storm over many containers does. Then it has none until the end.
type fullRing struct {
	n    int
	next int
	when uint64
}

func (r *fullRing) Reader() (collect.Ring, error)  { return r, nil }
func (r *fullRing) Records() ([]bpf.Record, error) { return nil, nil }
func (r *fullRing) Meta() (bpf.Meta, error)        { return bpf.Meta{Tier: bpf.TierA, LoadedNS: 1}, nil }
func (r *fullRing) Close() error                   { return nil }

func (r *fullRing) Read(ctx context.Context) (bpf.Record, error) {
	if r.next == r.n {
		<-ctx.Done()
		return bpf.Record{}, ctx.Err()
	}
	r.next++
	pid, cgroup := uint32(1000+r.next), uint64(1+r.next%onContainers)
	return bpf.Record{
		BootNS: r.when + uint64(r.next), Seq: uint64(r.next), TID: pid, TGID: pid, StartTicks: uint64(r.next),
		RSSAnon: 6000, RSSFile: 100, Cgroup: cgroup, Domain: cgroup, Constraint: bpf.ConstraintMemcg, TotalPages: 6144,
		TriggerTID: pid, TriggerTGID: pid, Tier: bpf.TierA,
	}, nil
}

// onContainers is how many containers the kills are spread over.
const onContainers = 250

// named are the cgroups as a Watcher has them in memory.
type named [onContainers + 1]cgroups.Name

func (n *named) Name(id uint64, _ time.Time) (cgroups.Name, error) { return n[id], nil }

func newNamed() *named {
	n := &named{}
	for i := range n {
		n[i] = cgroups.Name{Path: fmt.Sprintf("/kubepods.slice/kubepods-pod%08d_0000_4000_8000_000000000000.slice/cri-containerd-%064x.scope", i, i)}
	}
	return n
}

type nobody struct{}

func (nobody) Lookup(context.Context, string) (containers.Info, bool) {
	return containers.Info{}, false
}

// last closes done when it has been told of n incidents: it comes after the metrics.
type last struct {
	n    int
	done chan struct{}
}

func (l *last) Take(incident.Incident, bool) {
	if l.n--; l.n == 0 {
		close(l.done)
	}
}

func bootNow(b *testing.B) uint64 {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		b.Fatal(err)
	}
	return uint64(ts.Nano())
}

// limited are files such as a cgroup has of its memory, read as the agent reads them.
func limited(b *testing.B) limits {
	b.Helper()
	dir := b.TempDir()
	for name, text := range map[string]string{"memory.max": "25165824\n", "memory.peak": "25165824\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	watcher := cgroups.NewWatcher(&cgroups.Tree{Mount: dir}, cgroups.WatchOptions{})
	return limits{read: func(string) (limit, usage *uint64) { return watcher.Limits("/") }, node: nodeMemory}
}

// BenchmarkRingToMetric has kills come as fast as the agent takes them: one
// operation is one kill from the ring, named, its limit read, written to the journal,
// logged, on the page and in the metrics.
func BenchmarkRingToMetric(b *testing.B) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.SetFormatter(&logrus.JSONFormatter{})
	j, _, _, err := journal.Open(b.TempDir(), "boot", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	end := &last{n: b.N, done: make(chan struct{})}
	a := New(Config{Log: log, Consumers: []incident.Consumer{metrics.New(metrics.Options{}), &history.History{}, end}})
	a.journal = j
	c := collect.New(collect.Options{
		Ledger: &fullRing{n: b.N, when: bootNow(b)}, Namer: identity.NewNamer(newNamed(), nobody{}, nil), Boot: "boot",
		Limits: limited(b).of, Counted: j.Has, Out: a.deliver, Warn: func(err error) { b.Error(err) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	b.ResetTimer()
	go c.Run(ctx)
	<-end.done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "kills/s")
}
