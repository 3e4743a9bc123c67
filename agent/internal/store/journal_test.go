package store_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

const boot = "b00t"

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, dir, boot string) (*store.Journal, bool) {
	t.Helper()
	j, fresh, damaged, err := store.Open(dir, boot, began)
	require.NoError(t, err)
	require.Zero(t, damaged)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	return j, fresh
}

// victim is one whose PID is n.
func victim(n int) events.Victim {
	return events.Victim{
		Comm: "hog", IDs: events.IDs{PID: uint32(n), StartTicks: 7},
		Container: &events.Container{ID: "c", Name: "app"}, Pod: &events.Pod{Name: "web", Namespace: "shop"},
	}
}

func one(n int) events.OOMEvent {
	in := events.OOMEvent{
		Schema: events.Schema, Time: began.Add(time.Duration(n) * time.Second), BootNS: uint64(n), Event: uint64(n),
		Cause: oom.CausePod, Tier: "A", Victims: []events.Victim{victim(n)},
	}
	in.Identify(boot)
	return in
}

func record(n int) *bpf.Record { return &bpf.Record{TGID: uint32(n), StartTicks: 7, BootNS: uint64(n)} }

// again ends a journal as a SIGKILL does, and opens it as the next agent.
func again(t *testing.T, dir, boot string, j *store.Journal) *store.Journal {
	t.Helper()
	require.NoError(t, j.Close())
	next, fresh := open(t, dir, boot)
	require.False(t, fresh)
	return next
}

func TestGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/state")
	j, fresh := open(t, dir, boot)
	require.True(t, fresh)
	require.False(t, j.Has(record(1)))
	first := one(1)
	first.Victims = append(first.Victims, victim(2))
	require.NoError(t, j.Add(true, first))
	require.NoError(t, j.Add(true, one(3)))
	require.NoError(t, j.Add(false, one(4)))
	require.NoError(t, j.Done(one(3).ID))
	require.NoError(t, j.Done("no such"))
	for life := range 3 {
		for n := 1; n <= 4; n++ {
			require.True(t, j.Has(record(n)), n)
		}
		require.False(t, j.Has(record(5)))
		require.Equal(t, []events.OOMEvent{first}, j.Open(), "life %d", life)
		require.Equal(t, []events.OOMEvent{first, one(3), one(4)}, j.Past())
		require.Equal(t, events.Totals{
			Since: began, OOMEvents: 3, Victims: map[string]uint64{"pod": 4},
			Series: map[events.Series]events.Count{
				{Cause: "pod", Namespace: "shop", Pod: "web", Container: "app"}: {Victims: 4, Last: began.Add(4 * time.Second)},
			},
		}, j.Totals())
		j = again(t, dir, boot, j)
	}
	info, err := os.Stat(filepath.Join(dir, "journal"))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

// TestAnotherBoot: processes have their PIDs anew, and counts go on.
func TestAnotherBoot(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	require.NoError(t, j.Add(true, one(1)))
	j = again(t, dir, "other", j)
	require.False(t, j.Has(record(1)))
	require.Len(t, j.Open(), 1)
	require.EqualValues(t, 1, j.Totals().OOMEvents)
	require.WithinDuration(t, began, j.Totals().Dropped, 0, "what came before the reboot, unread")
	j = again(t, dir, "other", j)
	require.False(t, j.Has(record(1)))
	require.EqualValues(t, 1, j.Totals().Victims["pod"])
}

// TestIsBounded adds more than any bound, and stays exact.
func TestIsBounded(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	const many = 10000
	for n := 1; n <= many; n++ {
		in := one(n)
		in.Victims[0].Pod.Name = fmt.Sprint("web-", n%3000)
		require.NoError(t, j.Add(true, in))
	}
	for range 2 {
		for n := 1; n <= many; n++ {
			require.True(t, j.Has(record(n)), "victim %d, by its key or since it is older than all", n)
		}
		require.False(t, j.Has(record(many+1)))
		require.Len(t, j.Past(), 500)
		require.Len(t, j.Open(), 1000)
		require.Equal(t, one(many).ID, j.Open()[999].ID)
		require.EqualValues(t, many-1000, j.Dropped())
		require.EqualValues(t, many, j.Totals().Victims["pod"])
		require.Len(t, j.Totals().Series, 2000)
		info, err := os.Stat(filepath.Join(dir, "journal"))
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(8<<20))
		j = again(t, dir, boot, j)
	}
}

// TestTornAndDamaged: what a crash of the node cut off is left out, and so is
// what was written over.
func TestTornAndDamaged(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "journal")
	j, _ := open(t, dir, boot)
	for n := 1; n <= 3; n++ {
		require.NoError(t, j.Add(false, one(n)))
	}
	require.NoError(t, j.Close())
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	for cut := len(whole) - 1; cut > len(whole)-200; cut-- {
		require.NoError(t, os.WriteFile(name, whole[:cut], 0o600))
		j, _ := open(t, dir, boot)
		require.True(t, j.Has(record(2)))
		require.False(t, j.Has(record(3)))
		require.NoError(t, j.Close())
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines[2] = []byte("{\"v\":1,\"kind\":\"oom_event\",\"oom_event\":{}}\nrubbish\n" + strings.Repeat("x", 3<<20) + "\n{\"v\":2}\n")
	require.NoError(t, os.WriteFile(name, bytes.Join(lines, nil), 0o600))
	j, _, damaged, err := store.Open(dir, boot, began)
	require.NoError(t, err)
	require.Equal(t, 4, damaged)
	require.True(t, j.Has(record(1)))
	require.False(t, j.Has(record(2)))
	require.True(t, j.Has(record(3)))
	require.NoError(t, j.Close())
}

// TestDiskFull: the OOM event is counted, and written when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	fault := fmt.Errorf("no space: %w", syscall.ENOSPC)
	j.Break(fault)
	require.ErrorIs(t, j.Add(true, one(1)), syscall.ENOSPC)
	require.ErrorIs(t, j.Err(), syscall.ENOSPC)
	require.True(t, j.Has(record(1)))
	j.Break(nil)
	require.NoError(t, j.Add(false, one(2)))
	require.NoError(t, j.Err())
	j = again(t, dir, boot, j)
	require.True(t, j.Has(record(1)), "written later")
	require.True(t, j.Has(record(2)))
	require.Len(t, j.Open(), 1)
}

// TestLongNames: an OOM event that no line has room for is counted all the same, and
// what follows it is kept.
func TestLongNames(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	long := one(1)
	for n := 2; n <= events.MaxVictims; n++ {
		e := victim(n)
		e.Cgroup.Path = strings.Repeat("/\x01", 2000)
		long.Victims = append(long.Victims, e)
	}
	require.NoError(t, j.Add(true, long))
	require.NoError(t, j.Add(true, one(1000)))
	j = again(t, dir, boot, j)
	require.True(t, j.Has(record(1)))
	require.True(t, j.Has(record(events.MaxVictims)))
	require.True(t, j.Has(record(1000)))
	require.EqualValues(t, events.MaxVictims+1, j.Totals().Victims["pod"])
	require.Equal(t, []events.OOMEvent{one(1000)}, j.Past())
}
