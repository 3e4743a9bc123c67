package workload

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestModes(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	rootfs := t.TempDir()
	binary := filepath.Join(t.TempDir(), "workload")
	if err := Build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	if err := Rootfs(rootfs, binary); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		status int
		stdout string
	}{
		{args: []string{"exit", "3"}, status: 3},
		{args: []string{"exit-after", "0", "4"}, status: 4},
		{args: []string{"sleep", "0"}},
		{args: []string{"cat"}, stdout: "to be copied"},
		{args: []string{"exit", "many"}, status: 99},
		{args: []string{"no-such"}, status: 99},
		{args: []string{"shape", "no-such"}, status: 99},
		{args: []string{"left"}, status: 99},
		{status: 99},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(rootfs, Path), test.args...)
		cmd.Stdin = strings.NewReader("to be copied")
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if status := cmd.ProcessState.ExitCode(); status != test.status || string(out) != test.stdout {
			t.Errorf("%q: exit %d and %q, want %d and %q", test.args, status, out, test.status, test.stdout)
		}
	}
}

func TestBuildReportsGCC(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	err := Build(context.Background(), filepath.Join(t.TempDir(), "missing", "workload"))
	if err == nil || !strings.Contains(err.Error(), "cannot open output file") {
		t.Errorf("error without gcc's output: %v", err)
	}
}
