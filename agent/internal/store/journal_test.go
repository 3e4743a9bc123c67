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

// TestManyVictims: OOM events are kept by how many victims they have.
func TestManyVictims(t *testing.T) {
	j, _ := open(t, t.TempDir(), boot)
	for i := range 50 {
		in := one(i*1000 + 1)
		for n := 2; n <= events.MaxVictims; n++ {
			in.Victims = append(in.Victims, victim(i*1000+n))
		}
		require.NoError(t, j.Add(true, in))
	}
	require.Len(t, j.Past(), 4000/events.MaxVictims)
	require.Len(t, j.Open(), 4000/events.MaxVictims)
	require.True(t, j.Has(record(1)))
	require.True(t, j.Has(record(49001)))
	require.EqualValues(t, 50*events.MaxVictims, j.Totals().Victims["pod"])
}

// TestFlood: what one tenant has open and in the past makes room for its own alone.
func TestFlood(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	in := func(n int, namespace string, pods int) events.OOMEvent {
		e := one(n)
		e.Victims[0].Pod = &events.Pod{Namespace: namespace, UID: fmt.Sprint(namespace, n%pods)}
		return e
	}
	for n := range 20 {
		require.NoError(t, j.Add(true, in(1+n, "shop", 1)))
	}
	for n := range 3000 {
		require.NoError(t, j.Add(true, in(100+n, "evil", 4)))
	}
	check := func(list []events.OOMEvent, most int) {
		require.Len(t, list, most)
		for n := range 20 {
			require.Equal(t, one(1+n).ID, list[n].ID)
		}
		require.Equal(t, one(3099).ID, list[most-1].ID)
	}
	for range 2 {
		check(j.Past(), 500)
		check(j.Open(), 1000)
		j = again(t, dir, boot, j)
	}
}

func TestOneAgentOnly(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, boot)
	_, _, _, err := store.Open(dir, boot, began)
	require.ErrorIs(t, err, store.ErrBusy)
	require.ErrorContains(t, err, dir)
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	require.NoError(t, j.Add(true, one(1)))
	require.NoError(t, j.Close())
	require.ErrorIs(t, j.Done(one(1).ID), os.ErrClosed)
	next, _ := open(t, dir, boot)
	require.Len(t, next.Open(), 1)
}

// TestNoFile: whoever can make files in the directory can have nothing else read
// or written.
func TestNoFile(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte("mine\n"), 0o600))
	for name, make := range map[string]func(string) error{
		"link":   func(path string) error { return os.Symlink(other, path) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		require.NoError(t, make(filepath.Join(dir, "journal")))
		j, fresh, _, err := store.Open(dir, boot, began)
		require.NoError(t, err, name)
		require.True(t, fresh, name)
		require.Error(t, j.Err(), name)
		require.NoError(t, j.Add(true, one(1)), "it is set aside")
		require.NoError(t, j.Err())
		require.NoError(t, j.Close())
		_, err = os.Lstat(filepath.Join(dir, "journal.unread"))
		require.NoError(t, err)
		j, _ = open(t, dir, boot)
		require.True(t, j.Has(record(1)), name)
	}
	dir := t.TempDir()
	require.NoError(t, os.Symlink(other, filepath.Join(dir, "journal.next")))
	open(t, dir, boot)
	data, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "mine\n", string(data))
}

// FuzzJournal: any file is read in its bounds, and what is written of it is read
// the same.
func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	name := filepath.Join(dir, "journal")
	j, _, _, err := store.Open(dir, boot, began)
	require.NoError(f, err)
	require.NoError(f, j.Add(true, one(1)))
	require.NoError(f, j.Add(false, one(2)))
	require.NoError(f, j.Done(one(1).ID))
	require.NoError(f, j.Close())
	data, err := os.ReadFile(name)
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte(`{"v":1,"kind":"seen","keys":[[1,2,3],[4294967296,0,0]]}` + "\n"))
	f.Add([]byte(`{"v":1,"kind":"head","boot":"b00t","n":18446744073709551615,"horizon":18446744073709551615}` + "\n"))
	f.Add([]byte(`{"v":1,"kind":"series","series":{"Cause":"pod"},"n":1,"last":"2026-01-02T03:04:05Z"}` + "\n"))
	f.Add([]byte(`{"v":1,"kind":"victims","id":"pod","n":1}` + "\n" + `{"v":1,"kind":"done"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "journal"), data, 0o600))
		j, _, _, err := store.Open(dir, boot, began)
		require.NoError(t, err)
		totals, past, deliveries := j.Totals(), j.Past(), j.Open()
		require.NoError(t, j.Close())
		j, _, damaged, err := store.Open(dir, boot, began)
		require.NoError(t, err)
		require.Zero(t, damaged, "what was written here")
		require.Equal(t, totals.OOMEvents, j.Totals().OOMEvents)
		require.Equal(t, totals.Victims, j.Totals().Victims)
		require.Len(t, j.Past(), len(past))
		require.Len(t, j.Open(), len(deliveries))
		require.NoError(t, j.Close())
	})
}
