//go:build linux

package node

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// archive is a tar of files by name.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// receive feeds frames to a sink.
func receive(t *testing.T, r Run, dir string, frames map[wire.Kind][]byte, last *string) (int, error) {
	t.Helper()
	var stream bytes.Buffer
	for kind, payload := range frames {
		if err := wire.Write(&stream, kind, payload); err != nil {
			t.Fatal(err)
		}
	}
	if last != nil {
		if err := wire.Write(&stream, wire.Exit, []byte(*last)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := newSink(dir, r, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	status, err := s.receive(&stream)
	if closeErr := s.close(); closeErr != nil && err == nil {
		err = closeErr
	}
	return status, err
}

func TestReceive(t *testing.T) {
	var stdout, stderr bytes.Buffer
	dir, out := t.TempDir(), t.TempDir()
	status := "7"
	got, err := receive(t, Run{Stdout: &stdout, Stderr: &stderr, Out: out}, dir, map[wire.Kind][]byte{
		wire.Stdout: []byte("hi"),
		wire.Stderr: []byte("oh"),
		wire.Log:    []byte("log"),
		wire.Tar:    archive(t, map[string]string{"out/a/b": "ab", "logs/kernel.log": "k", "other/x": "x"}),
	}, &status)
	if err != nil || got != 7 {
		t.Fatalf("status %d, %v", got, err)
	}
	if stdout.String() != "hi" || stderr.String() != "oh" {
		t.Errorf("output %q, %q", &stdout, &stderr)
	}
	for name, want := range map[string]string{
		filepath.Join(out, "a/b"):            "ab",
		filepath.Join(dir, "kernel.log"):     "k",
		filepath.Join(dir, "containerd.log"): "log",
	} {
		if text, err := os.ReadFile(name); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestReceiveFromCrashedGuest(t *testing.T) {
	status, err := receive(t, Run{}, t.TempDir(), nil, nil)
	if status != wire.StatusNode || err == nil {
		t.Fatalf("status %d, %v", status, err)
	}
}

func TestReceiveRefusesEscape(t *testing.T) {
	status := "0"
	_, err := receive(t, Run{Out: t.TempDir()}, t.TempDir(), map[wire.Kind][]byte{
		wire.Tar: archive(t, map[string]string{"out/../../x": "x"}),
	}, &status)
	if err == nil {
		t.Fatal("a file outside of its folder is accepted")
	}
}
