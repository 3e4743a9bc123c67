package nodewhy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why/collect/collecttest"
)

// logged returns the line of an exit's verdict, as the shim logs the line.
func logged(x exits.Exit, status int) string {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: time.RFC3339Nano})
	exit := oom.Exit{Pid: x.Pid, Status: x.Status, At: x.At}
	log.WithTime(x.At).WithFields(x.Verdict.LogFields(x.ID, exit, status, x.Acked)).Info("verdict")
	return out.String()
}

// TestVerdictIn: what the log has of each verdict is read as it was written.
func TestVerdictIn(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC)
	for name, e := range collecttest.Endings {
		want := e.Exit("3f2a5c1d", collecttest.Pod, at)
		got, ok := verdictIn(strings.TrimSuffix(logged(want, want.Reported), "\n"))
		require.True(t, ok, name)
		require.Equal(t, want.Reported, got.Reported, name)
		w, g := want.Verdict, got.Verdict
		require.Equal(t, []any{want.ID, want.Pid, want.At, want.Status, w.Ended, w.Rule, w.Cause, w.Kills, w.Init, w.Evidence, w.Tier, w.Gone},
			[]any{got.ID, got.Pid, got.At.UTC(), got.Status, g.Ended, g.Rule, g.Cause, g.Kills, g.Init, g.Evidence, g.Tier, g.Gone}, name)
		if w.Sender != nil && w.Sender.PID != 0 {
			require.Equal(t, []any{w.Sender.Comm, w.Sender.PID, w.Sender.UID, w.Sender.CgroupPath},
				[]any{g.Sender.Comm, g.Sender.PID, g.Sender.UID, g.Sender.CgroupPath}, name)
		}
	}
}

// TestOtherLines: lines without a verdict, and lines that only quote one, are none.
func TestOtherLines(t *testing.T) {
	x := collecttest.Endings["init"].Exit("3f2a5c1d", collecttest.Pod, time.Now())
	good := strings.TrimSuffix(logged(x, 137), "\n")
	for _, line := range []string{
		"", "verdict", `level=info msg="a container said msg=verdict rule=1"`, strings.Replace(good, "rule=1", "rule=99", 1),
		strings.Replace(good, "status=137", "status=x", 1), strings.Replace(good, "container=3f2a5c1d", "container=", 1), good + ` x="open`, "x " + good,
	} {
		_, ok := verdictIn(line)
		require.False(t, ok, line)
	}
}

func FuzzVerdictIn(f *testing.F) {
	for _, e := range collecttest.Endings {
		f.Add(logged(e.Exit("a", collecttest.Pod, time.Now()), 137))
	}
	f.Add(`time="2026-01-02T03:04:05Z" msg=verdict container=a pid=1 status=1 kills=0 rule=8 ended=exited sender="x[1] uid 0 in /"`)
	f.Fuzz(func(t *testing.T, line string) {
		if x, ok := verdictIn(line); ok {
			require.NoError(t, x.Check())
		}
	})
}

// TestLogFile: verdicts are found among other lines, also behind a line that is too long.
func TestLogFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "containerd.log")
	x := collecttest.Endings["init"].Exit("3f2a5c1d", collecttest.Pod, time.Now())
	text := "level=info msg=other\n" + strings.Repeat("x", 3*maxLogLine) + "\n" + logged(x, 137) + "level=info msg=\"cut"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	list, err := Log{File: file}.Verdicts(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for _, bad := range []string{t.TempDir(), "/nonexistent", fifo, "/dev/zero"} {
		_, err = Log{File: bad}.Verdicts(t.Context())
		require.Error(t, err)
	}
}

// TestFindLog: the log is the file that is the process's standard error, else the journal.
func TestFindLog(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "containerd.log"))
	require.NoError(t, err)
	defer file.Close()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Stderr = file
	require.NoError(t, cmd.Start())
	found, err := FindLog(cmd.Process.Pid, "containerd.service")
	require.NoError(t, err)
	require.Equal(t, file.Name(), found.String())
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	cmd = exec.CommandContext(t.Context(), "sleep", "1000")
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	defer pipe.Close()
	require.NoError(t, cmd.Start())
	found, err = FindLog(cmd.Process.Pid, "containerd.service")
	require.NoError(t, err)
	require.Equal(t, "the journal of containerd.service", found.String())
	_, err = FindLog(cmd.Process.Pid, "")
	require.ErrorContains(t, err, "belongs to no systemd unit")
	_, err = FindLog(0, "")
	require.ErrorContains(t, err, "no containerd runs")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

// TestJournal: what journalctl prints is read, and its error is in the error. The real
// journalctl needs a journal, which this machine may lack.
func TestJournal(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	_, err := Log{Unit: "containerd.service"}.Verdicts(t.Context())
	require.ErrorContains(t, err, "journalctl")
	x := collecttest.Endings["earlyoom"].Exit("3f2a5c1d", collecttest.Pod, time.Now())
	script := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "journalctl"), []byte("#!/bin/sh\n"+text), 0o755))
	}
	message := strings.ReplaceAll(strings.TrimSuffix(logged(x, 137), "\n"), `"`, `\"`)
	script("echo '{\"MESSAGE\":[1,2]}'\necho '{\"MESSAGE\":\"" + message + "\"}'\n")
	list, err := Log{Unit: "containerd.service"}.Verdicts(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "earlyoom", list[0].Verdict.Sender.Comm)
	script("exit 1\n")
	list, err = Log{Unit: "containerd.service"}.Verdicts(t.Context())
	require.NoError(t, err, "no line matches")
	require.Empty(t, list)
	script("echo 'compiled without pattern matching support' >&2; exit 1\n")
	_, err = Log{Unit: "containerd.service"}.Verdicts(t.Context())
	require.ErrorContains(t, err, "without pattern matching")
}
