package exits

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

func exitAt(n int) Exit {
	return Exit{
		ID: fmt.Sprintf("c%d", n), Boot: "boot", Pid: 1 + n, At: time.Unix(int64(n), 0).UTC(), Status: 137, Reported: 137,
		Verdict: oom.Verdict{OOMKilled: true, Ended: oom.EndedOOM, Rule: oom.RuleInitVictim, Evidence: "ledger"},
	}
}

func ids(list []Exit) (all []string) {
	for _, e := range list {
		all = append(all, e.ID)
	}
	return all
}

// TestAppendAndRead: what is appended is read, in order of time and each exit once.
func TestAppendAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "exits")
	_, _, err := Read(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, n := range []int{2, 1, 2} {
		require.NoError(t, Append(dir, exitAt(n)))
	}
	list, damaged, err := Read(dir)
	require.NoError(t, err)
	require.Zero(t, damaged)
	require.Equal(t, []string{"c1", "c2"}, ids(list))
	want := exitAt(1)
	want.Version = Version
	require.Equal(t, want, list[0])
	fi, err := os.Stat(filepath.Join(dir, currentFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode())
}

// TestAppendMissing: a run that the spool has already is not added again, whatever time of
// the exit the second account has. Another run of the same ID is.
func TestAppendMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "exits")
	first := exitAt(1)
	first.StartTicks = 7
	again, another := first, first
	again.At = first.At.Add(time.Second)
	another.StartTicks++
	for _, e := range []Exit{first, again, another, first} {
		require.NoError(t, AppendMissing(dir, e))
	}
	text, err := os.ReadFile(filepath.Join(dir, currentFile))
	require.NoError(t, err)
	list, damaged := ParseAll(text)
	require.Zero(t, damaged)
	require.Len(t, list, 2, "lines, and not exits")

	require.NoError(t, os.Rename(filepath.Join(dir, currentFile), filepath.Join(dir, previousFile)))
	require.NoError(t, AppendMissing(dir, first))
	require.NoFileExists(t, filepath.Join(dir, currentFile), "it is in the previous file")

	// A file that cannot be read is no reason to lose the line.
	dir = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, previousFile), 0o700))
	require.Error(t, AppendMissing(dir, first))
	text, err = os.ReadFile(filepath.Join(dir, currentFile))
	require.NoError(t, err)
	list, _ = ParseAll(text)
	require.Len(t, list, 1)
}

// TestBounded: many writers at once lose nothing but the oldest, and the spool stays
// within its bound.
func TestBounded(t *testing.T) {
	dir := t.TempDir()
	const writers, each = 8, 600
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if err := Append(dir, exitAt(w*each+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var size int64
	for _, name := range []string{currentFile, previousFile} {
		fi, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		size += fi.Size()
	}
	require.Less(t, size, int64(2*MaxFile+writers*maxLine))
	list, damaged, err := Read(dir)
	require.NoError(t, err)
	require.Zero(t, damaged)
	require.Greater(t, len(list), MaxFile/1024)
	perWriter := map[int][]int{}
	for _, e := range list {
		n := e.Pid - 1
		perWriter[n/each] = append(perWriter[n/each], n%each)
	}
	for w, kept := range perWriter { // the newest, without a gap
		for i, n := range kept {
			require.Equal(t, each-len(kept)+i, n, "writer %d", w)
		}
	}
}

// TestTail: a reader gets each exit once, over changes of the file.
func TestTail(t *testing.T) {
	dir := t.TempDir()
	tail := Tail{Dir: dir}
	list, damaged, gap, err := tail.Next()
	require.NoError(t, err)
	require.Zero(t, damaged)
	require.False(t, gap)
	require.Empty(t, list)
	const n = 3000
	var got []string
	for i := range n {
		require.NoError(t, Append(dir, exitAt(i)))
		if i%7 == 0 {
			list, damaged, gap, err := tail.Next()
			require.NoError(t, err)
			require.Zero(t, damaged)
			require.False(t, gap)
			got = append(got, ids(list)...)
		}
	}
	list, _, gap, err = tail.Next()
	require.NoError(t, err)
	require.False(t, gap)
	got = append(got, ids(list)...)
	require.Len(t, got, n)
	for i, id := range got {
		require.Equal(t, fmt.Sprintf("c%d", i), id)
	}
}

// TestTailGap: a reader that comes too late, or too seldom, learns that exits are missing.
func TestTailGap(t *testing.T) {
	dir := t.TempDir()
	first, n := Tail{Dir: dir}, 0
	fill := func(changes int) (last string) {
		for files := 0; files < changes; n++ {
			before, _ := os.Stat(filepath.Join(dir, currentFile))
			require.NoError(t, Append(dir, exitAt(n)))
			after, err := os.Stat(filepath.Join(dir, currentFile))
			require.NoError(t, err)
			if before != nil && !os.SameFile(before, after) {
				files++
			}
			last = exitAt(n).ID
		}
		return last
	}
	read := func(tail *Tail, last string) (gap bool) {
		list, damaged, gap, err := tail.Next()
		require.NoError(t, err)
		require.Zero(t, damaged)
		require.Equal(t, last, list[len(list)-1].ID)
		return gap
	}
	require.NoError(t, Append(dir, exitAt(0)))
	require.False(t, read(&first, "c0"), "all were there")
	n++
	require.False(t, read(&first, fill(1)))
	last := fill(2)
	require.True(t, read(&first, last))
	require.True(t, read(&Tail{Dir: dir}, last), "one that comes now")
}

// TestTornLine: a line that a full disk has cut costs no other.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Append(dir, exitAt(1)))
	path := filepath.Join(dir, currentFile)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(text, text[:len(text)/2]...), 0o600))
	require.NoError(t, Append(dir, exitAt(2)))
	list, damaged, err := Read(dir)
	require.NoError(t, err)
	require.Equal(t, 1, damaged)
	require.Equal(t, []string{"c1", "c2"}, ids(list))
}

// TestNoRegularFile: whatever is in the place of the spool, Append and Read return an
// error and do not wait.
func TestNoRegularFile(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"fifo":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink("/dev/null", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, put(filepath.Join(dir, currentFile)))
			require.Error(t, Append(dir, exitAt(1)))
			_, _, err := Read(dir)
			require.Error(t, err)
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, Append(filepath.Join(file, "exits"), exitAt(1)))
}

// TestLongExit is refused, and nothing of it is written.
func TestLongExit(t *testing.T) {
	dir := t.TempDir()
	e := exitAt(1)
	e.Pod = &Pod{Image: strings.Repeat("i", maxLine)}
	require.ErrorContains(t, Append(dir, e), "allowed: 16384")
	_, err := os.Stat(filepath.Join(dir, currentFile))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzParseAll(f *testing.F) {
	line, err := exitAt(1).line()
	require.NoError(f, err)
	f.Add(line)
	f.Add([]byte(`{"v":1,"id":"a","pid":1,"at":"2026-01-02T03:04:05Z","verdict":{"ended":"oom","rule":"1"}}` + "\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, _ := ParseAll(text)
		for _, e := range list {
			again, err := e.line()
			if err != nil { // escapes can make a line longer
				continue
			}
			back, damaged := ParseAll(again)
			require.Zero(t, damaged)
			require.Len(t, back, 1)
			require.Equal(t, e.Key(), back[0].Key())
		}
	})
}

// BenchmarkAppend is what an exit costs, after its release.
func BenchmarkAppend(b *testing.B) {
	dir := b.TempDir()
	e := exitAt(1)
	for b.Loop() {
		if err := Append(dir, e); err != nil {
			b.Fatal(err)
		}
	}
}
