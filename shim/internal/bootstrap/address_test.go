//go:build linux

package bootstrap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSocket(t *testing.T) {
	const result = `{"version":3,"address":"unix:///run/containerd/s/1","protocol":"ttrpc"}`
	for name, tc := range map[string]struct {
		result, address string // "" for no file
		want            string // "" for an error
	}{
		"bootstrap.json alone":        {result, "", "/run/containerd/s/1"},
		"address alone":               {"", "unix:///run/containerd/s/2", "/run/containerd/s/2"},
		"address with a line's end":   {"", "unix:///run/containerd/s/2\n", "/run/containerd/s/2"},
		"both":                        {result, "unix:///run/containerd/s/2", "/run/containerd/s/1"},
		"a plain bootstrap.json":      {"unix:///run/containerd/s/3", "", "/run/containerd/s/3"},
		"neither":                     {"", "", ""},
		"abstract, as of 1.2":         {"", "\x00/containerd-shim/x.sock", ""},
		"relative":                    {"", "unix://s", ""},
		"a path that leads elsewhere": {"", "unix:///run/../s", ""},
		"no address in the result":    {"{}", "", ""},
	} {
		bundle := t.TempDir()
		for file, text := range map[string]string{ResultFile: tc.result, AddressFile: tc.address} {
			if text != "" {
				require.NoError(t, os.WriteFile(filepath.Join(bundle, file), []byte(text), 0o600))
			}
		}
		path, err := Socket(bundle)
		require.Equal(t, tc.want, path, name)
		require.Equal(t, tc.want == "", err != nil, name)
	}
}

func TestWriteAddress(t *testing.T) {
	bundle := t.TempDir()
	for _, address := range []string{"unix:///run/containerd/s/11", "unix:///run/containerd/s/2"} {
		require.NoError(t, WriteAddress(bundle, address))
		text, err := os.ReadFile(filepath.Join(bundle, "address"))
		require.NoError(t, err)
		require.Equal(t, address, string(text))
	}
	entries, err := os.ReadDir(bundle)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Error(t, WriteAddress(filepath.Join(bundle, "none"), "unix:///s"))
}

// What containerd has written of a shim's address is there for older versions too.
func TestNoteAddress(t *testing.T) {
	bundle := t.TempDir()
	note := func() (string, error) {
		err := NoteAddress(bundle)
		text, _ := os.ReadFile(filepath.Join(bundle, AddressFile))
		return string(text), err
	}
	text, err := note()
	require.NoError(t, err)
	require.Empty(t, text, "nothing is known")

	result := filepath.Join(bundle, ResultFile)
	require.NoError(t, os.WriteFile(result, []byte(`{"address":"tcp://1.2.3.4"}`), 0o600))
	_, err = note()
	require.ErrorContains(t, err, "allowed: unix://")

	require.NoError(t, os.WriteFile(result, []byte(`{"version":3,"address":"unix:///run/containerd/s/1"}`), 0o600))
	text, err = note()
	require.NoError(t, err)
	require.Equal(t, "unix:///run/containerd/s/1", text)

	require.NoError(t, os.WriteFile(result, []byte(`{"version":3,"address":"unix:///run/containerd/s/2"}`), 0o600))
	text, err = note()
	require.NoError(t, err)
	require.Equal(t, "unix:///run/containerd/s/1", text, "the file was there")
}

// FuzzParseResult: a path that is found is absolute and leads nowhere else.
func FuzzParseResult(f *testing.F) {
	f.Add([]byte(`{"version":3,"address":"unix:///run/containerd/s/1f","protocol":"ttrpc"}`))
	f.Add([]byte(`{"address":"unix://../s"}`))
	f.Add([]byte(`unix:///run/containerd/s/1f`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path, err := parseResult(data)
		if err == nil && (path == "" || path[0] != '/' || filepath.Clean(path) != path) {
			t.Fatalf("%q from %q", path, data)
		}
	})
}
