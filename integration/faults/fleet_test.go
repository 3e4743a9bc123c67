//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// builders is the number of pods that are made or removed at the same time.
const builders = 6

// member is one container of a fleet.
type member struct {
	faultkit.Kind
	label string // the name in the pod, the same in every run
	id    string
	pod   string
	pipe  *os.File // carries the mode; nil if the client stops the container
	pid   int
	fd    int // pidfd of init
	when  faultkit.Moment

	over chan struct{} // closed when init has ended
	end  time.Time     // the time when over was closed

	first   *cri.Status // CRI's status when CRI first called the container exited
	last    *cri.Status // CRI's status at the end of the cycle
	stopped *cri.Status // CRI's status after the stop of a container that CRI had given up
	shown   time.Time   // when the shim answered Wait
	edge    bool        // the container ended as the fault began or ended
	broke   time.Time   // when the shim was killed, which broke CRI's Wait off
	away    []sight     // what was there each time that containerd had ended
}

// fleet is the containers of one run of a fault.
type fleet struct {
	n         *node
	pods      []string
	sandboxes []*cri.Sandbox
	members   []*member
	wg        sync.WaitGroup // goroutines that wait for the ends of init processes

	faultkit.Played
}

// each calls do for all elements, some at the same time.
func each[T any](all []T, do func(T) error) error {
	todo := make(chan T, len(all))
	for _, one := range all {
		todo <- one
	}
	close(todo)
	errs := make([]error, builders)
	var wg sync.WaitGroup
	for i := range builders {
		wg.Go(func() {
			for one := range todo {
				errs[i] = errors.Join(errs[i], do(one))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// newFleet starts pods with containers of each kind, and returns when every container waits for
// its moment. annotations has names and values of the pods' annotations by turns.
func (n *node) newFleet(t *testing.T, now size, use []faultkit.Kind, annotations ...string) *fleet {
	t.Helper()
	fl := &fleet{n: n}
	ctx, cancel := context.WithTimeout(t.Context(), faultkit.Patience+time.Duration(now.pods)*time.Minute)
	t.Cleanup(cancel)
	t.Cleanup(func() { fl.remove(t) })
	numbers := make([]int64, now.pods)
	for i := range numbers {
		numbers[i] = serial.Add(1)
	}
	var mu sync.Mutex
	use = slices.Repeat(use, now.each)
	require.NoError(t, each(numbers, func(number int64) error { return fl.addPod(ctx, &mu, number, use, annotations) }))
	// The order in which the moments are drawn must be the same in each run.
	slices.SortFunc(fl.members, func(a, b *member) int { return strings.Compare(a.label, b.label) })
	for _, m := range fl.members {
		require.NoError(t, faultkit.Until(ctx, m.Name+" "+m.id+" to wait for its moment", m.stands))
	}
	return fl
}

func (fl *fleet) addPod(ctx context.Context, mu *sync.Mutex, number int64, use []faultkit.Kind, annotations []string) error {
	name := fmt.Sprintf("pod%04d", number)
	pod, err := fl.n.newPod(ctx, name, annotations...)
	if err != nil {
		return err
	}
	mu.Lock()
	fl.pods = append(fl.pods, pod.ID)
	fl.sandboxes = append(fl.sandboxes, pod)
	mu.Unlock()
	for i, k := range use {
		if k.Name == faultkit.KindStop.Name && (int(number)+i/len(faultkit.Kinds))%2 == 1 {
			k = faultkit.KindStopTainted
		}
		m, err := fl.n.newMember(ctx, pod, k, fmt.Sprintf("%s-%02d", name, i))
		if err != nil {
			return fmt.Errorf("%s in %s: %w", k.Name, name, err)
		}
		m.pod = pod.ID
		mu.Lock()
		fl.members = append(fl.members, m)
		mu.Unlock()
		fl.wg.Go(func() { m.waitEnd() })
	}
	return nil
}

// newPod starts a pod under the shim, in a cgroup of its own.
func (n *node) newPod(ctx context.Context, name string, annotations ...string) (*cri.Sandbox, error) {
	parent := "/oomw/" + name
	if n.driver == mix.Systemd {
		parent = "oomw-" + name + ".slice"
	}
	return n.cri.RunPod(ctx, annotated(cri.Pod{Name: name, Handler: n.handler(), CgroupParent: parent}, annotations))
}

func (n *node) newMember(ctx context.Context, pod *cri.Sandbox, k faultkit.Kind, name string) (*member, error) {
	m := &member{Kind: k, label: name, over: make(chan struct{})}
	dir, err := faultkit.MakeControl(name)
	if err != nil {
		return nil, err
	}
	if m.id, err = n.cri.Create(ctx, pod, cri.Container{
		Name: name, Image: faultkit.Image, Command: k.Line(), Limit: faultkit.Limit, Mounts: map[string]string{faultkit.ControlMount: dir},
	}); err != nil {
		return nil, err
	}
	if err := n.cri.Start(ctx, m.id); err != nil {
		return nil, err
	}
	if m.pid, err = faultkit.InitPid(m.id); err != nil {
		return nil, err
	}
	if m.fd, err = unix.PidfdOpen(m.pid, 0); err != nil {
		return nil, fmt.Errorf("init %d: %w", m.pid, err)
	}
	if k.Mode != "" {
		m.pipe, err = faultkit.OpenControl(ctx, dir)
	}
	return m, err
}

// stands returns nil if the container waits for its moment.
func (m *member) stands() error { return m.Stands(m.pid) }

func (m *member) waitEnd() {
	_ = faultkit.Ended(context.Background(), m.fd) // an error means a bad descriptor alone
	m.end = time.Now()
	close(m.over)
}

// during reports whether a container ended while the fault lasted, and not close to its begin
// or end.
func (fl *fleet) during(m *member) bool {
	return m.end.After(fl.Struck) && m.end.Before(fl.Healed.Add(-edge))
}

// edge is the time that a shim may need to notice an end.
const edge = time.Second

// fire makes the container end.
func (fl *fleet) fire(ctx context.Context, m *member) error {
	if m.Mode == "" {
		return faultkit.Until(ctx, "a stop of "+m.id, func() error { return fl.n.cri.Stop(ctx, m.id, int64(faultkit.Patience.Seconds())) })
	}
	return m.End(m.pipe)
}

// remove ends and removes everything that is left of the fleet.
func (fl *fleet) remove(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), faultkit.Patience)
	defer cancel()
	err := each(fl.pods, func(id string) error {
		return faultkit.Until(ctx, "pod to go", func() error { return fl.n.cri.RemovePod(ctx, id) })
	})
	switch {
	case err == nil:
	case fl.n.shim == "stock":
		t.Logf("stock: %v", err)
	default:
		t.Error(err)
	}
	if fl.n.shim != "stock" {
		if err := fl.nothingLeft(ctx); err != nil {
			t.Error(err)
		}
	}
	for _, m := range fl.members {
		// Under the stock shim, a container that CRI has forgotten may still run.
		_ = unix.PidfdSendSignal(m.fd, unix.SIGKILL, nil, 0)
	}
	fl.wg.Wait()
	for _, m := range fl.members {
		_ = unix.Close(m.fd)
	}
	require.NoError(t, os.RemoveAll(faultkit.Controls))
}

// nothingLeft waits until the removed pods have neither processes nor bundles.
func (fl *fleet) nothingLeft(ctx context.Context) error {
	ids := slices.Clone(fl.pods)
	for _, m := range fl.members {
		ids = append(ids, m.id)
		select {
		case <-m.over:
		case <-ctx.Done():
			return fmt.Errorf("init %d of %s %s runs, and its pod is removed: %w", m.pid, m.Name, m.id, ctx.Err())
		}
	}
	return faultkit.Until(ctx, "nothing to be left of the pods", func() error {
		for _, id := range ids {
			if _, err := os.Stat(filepath.Join(faultkit.TasksDir, id)); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("bundle of %s is there: %w", id, errors.Join(err))
			}
			if pid := faultkit.ShimPid(id); pid != 0 {
				return fmt.Errorf("shim %d of %s runs", pid, id)
			}
		}
		return nil
	})
}
