package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// TestDamaged: what is no line of ours is left out, and the rest is taken.
func TestDamaged(t *testing.T) {
	head := fmt.Sprintf(`{"v":2,"boot":%q}`+"\n", boot)
	good := `{"id":1,"path":"/a"}` + "\n"
	for _, bad := range []string{
		"", "{", "null", "{}", "[]", "\x00\xff", head[:len(head)-1],
		`{"id":0,"path":"/a"}`, `{"id":-1,"path":"/a"}`, `{"id":2}`,
		`{"id":2,"path":"a"}`, `{"id":2,"path":"/../etc"}`, `{"id":2,"path":"/a/"}`,
		`{"id":2,"path":"/\u0000"}`, `{"id":2,"path":"/` + strings.Repeat("a", 5000) + `"}`,
		`{"id":2,"path":"/a","gone":"now"}`, `{"cgroup":{"id":2,"path":"/a"}}`,
		`{"id":2,"path":"/a"}` + strings.Repeat(" ", 2*maxKnown),
	} {
		list, damaged, err := parseKnown(strings.NewReader(head+bad+"\n"+good+`{"id":3,"path":"/cut"}`), boot)
		require.NoError(t, err)
		require.Equal(t, 1, damaged, "%.80q", bad)
		require.Equal(t, []cgroups.Known{{ID: 1, Path: "/a"}}, list, "%.80q", bad)
	}
	for _, bad := range []string{"", "{", `{"v":1,"boot":"` + boot + `"}`, `{"boot":"` + boot + `"}`, strings.Repeat("a", 2*maxKnown)} {
		list, damaged, err := parseKnown(strings.NewReader(bad+"\n"+good), boot)
		require.NoError(t, err)
		require.Equal(t, 1, damaged)
		require.Empty(t, list)
	}
	fault := errors.New("the disk")
	for _, before := range []string{"", head, head + good} {
		_, _, err := parseKnown(io.MultiReader(strings.NewReader(before), failing{fault}), boot)
		require.ErrorIs(t, err, fault)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestBounds: a file of any length fills no more than so much memory.
func TestBounds(t *testing.T) {
	var file strings.Builder
	fmt.Fprintf(&file, `{"v":2,"boot":%q}`+"\n", boot)
	for n := range maxCgroups + 10 {
		fmt.Fprintf(&file, `{"id":%d,"path":"/a"}`+"\n", n+1)
	}
	fmt.Fprintf(&file, `{"id":1,"path":"/b"}`+"\n")
	list, damaged, err := parseKnown(strings.NewReader(file.String()), boot)
	require.NoError(t, err)
	require.Equal(t, 10, damaged)
	require.Len(t, list, maxCgroups)
	require.Contains(t, list, cgroups.Known{ID: 1, Path: "/b"}, "the later line is in force")
	require.Len(t, fresh(append(list, list...), time.Now()), maxCgroups)
}

// TestFuture: a clock that was set back makes nothing stay for longer.
func TestFuture(t *testing.T) {
	now := time.Now()
	require.Equal(t, now, fresh([]cgroups.Known{{ID: 1, Path: "/a", Gone: now.Add(time.Hour)}}, now)[0].Gone)
}

// TestNoFile: whoever can make files in the directory can have nothing else read or
// written.
func TestNoFile(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	mine := fmt.Sprintf(`{"v":2,"boot":%q}`+"\n"+`{"id":1,"path":"/a"}`+"\n", boot)
	require.NoError(t, os.WriteFile(other, []byte(mine), 0o600))
	for name, make := range map[string]func(string) error{
		"link":   func(path string) error { return os.Symlink(other, path) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		require.NoError(t, make(filepath.Join(dir, checkpointName)))
		require.NoError(t, os.Symlink(other, filepath.Join(dir, checkpointNext)))
		synctest.Test(t, func(t *testing.T) {
			l := live(t, dir, boot)
			synctest.Wait()
			require.NotEmpty(t, l.warned, name)
			require.Empty(t, l.cgroups.restored)
			l.end()
		})
		data, err := os.ReadFile(other)
		require.NoError(t, err)
		require.Equal(t, mine, string(data))
	}
}

// FuzzParseKnown: any file is read in its bounds, and what is written of it is read the
// same.
func FuzzParseKnown(f *testing.F) {
	var whole strings.Builder
	_, err := writeKnown(&whole, boot, []cgroups.Known{{ID: 1, Path: pathOf(1), Gone: time.Unix(1, 0)}})
	require.NoError(f, err)
	f.Add([]byte(whole.String()))
	f.Add([]byte(`{"v":2,"boot":"` + boot + "\"}\n{\"id\":18446744073709551615,\"path\":\"/\xff\"}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _, err := parseKnown(strings.NewReader(string(data)), boot)
		require.NoError(t, err)
		var out strings.Builder
		size, err := writeKnown(&out, boot, list)
		require.NoError(t, err)
		require.EqualValues(t, out.Len(), size)
		again, damaged, err := parseKnown(strings.NewReader(out.String()), boot)
		require.NoError(t, err)
		require.Zero(t, damaged)
		require.Len(t, again, len(list))
	})
}
