package store_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/store"
)

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
	dropped := in(100+3000-480-1, "evil", 4).Time
	for range 2 {
		require.Equal(t, dropped, j.Totals().Dropped)
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

// TestLaterJournal: an agent of an earlier version keeps the journal of a later one beside its
// own, byte for byte. A line that only looks like a later one's head is damaged.
func TestLaterJournal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	j, _ := open(t, dir, boot)
	require.NoError(t, j.Add(true, one(1)))
	require.NoError(t, j.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	later := bytes.Replace(text, []byte(`{"v":1,"kind":"head"`), []byte(`{"v":2,"kind":"head"`), 1)
	require.NotEqual(t, text, later)
	require.NoError(t, os.WriteFile(path, later, 0o600))

	j, fresh, damaged, err := store.Open(dir, boot, began)
	require.NoError(t, err)
	require.True(t, fresh)
	require.Zero(t, damaged)
	require.ErrorContains(t, j.Err(), "a later version of the agent wrote it: it has version 2, and this agent reads 1")
	require.NoError(t, j.Add(false, one(2)))
	require.NoError(t, j.Close())
	kept, err := os.ReadFile(filepath.Join(dir, "journal.unread"))
	require.NoError(t, err)
	require.Equal(t, later, kept)

	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(text, `{"v":2,"kind":"oom_event"}`+"\n"...), 0o600))
	j, _, damaged, err = store.Open(dir, boot, began)
	require.NoError(t, err)
	require.Equal(t, 1, damaged)
	require.True(t, j.Has(record(2)))
	require.NoError(t, j.Close())
}

// TestSeriesByNamespace: the counts of a namespace that makes pods all the time make room, and
// those of no other.
func TestSeriesByNamespace(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, boot)
	in := func(n int, namespace string) {
		e := one(n)
		e.Victims[0].Pod.Namespace, e.Victims[0].Pod.Name = namespace, fmt.Sprint("web-", n)
		require.NoError(t, j.Add(false, e))
	}
	for n := 1; n <= 10; n++ {
		in(n, "shop")
	}
	for n := 11; n < 3000; n++ {
		in(n, "loud")
	}
	j = again(t, dir, boot, j)
	of := map[string]int{}
	for key := range j.Totals().Series {
		of[key.Namespace]++
	}
	require.Equal(t, map[string]int{"shop": 10, "loud": 1990}, of)
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
